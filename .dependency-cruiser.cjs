// The direction of imports, enforced: util <- core <- runtime <- front ends; adapters stand on core
// and never on each other; only main.ts and daemon.ts see everything.
const ADAPTERS = 'lxc|cgroup|images|storage|network|nri|store|hooks|observe';
const rule = (name, comment, from, to) => ({ name, comment, severity: 'error', from, to });

module.exports = {
  forbidden: [
    rule('no-cycles', 'A cycle has no bottom to start reading from.', {}, { circular: true }),
    rule(
      'util-is-the-bottom',
      'util knows nothing of containers.',
      { path: '^src/util/' },
      { path: '^src/(?!util/)' },
    ),
    rule(
      'core-is-pure',
      'core may import util alone, and no I/O.',
      { path: '^src/core/' },
      { path: '^src/(?!core/|util/)' },
    ),
    rule(
      'core-does-no-io',
      'core is pure: no file, socket, process or timer modules.',
      { path: '^src/core/' },
      {
        path: '^(node:)?(fs|fs/promises|net|http|https|http2|child_process|worker_threads|dgram|dns)$',
      },
    ),
    rule(
      'runtime-stands-on-core',
      'Verbs reach the world through the ports of core.',
      { path: '^src/runtime/' },
      { path: '^src/(?!runtime/|core/|util/)' },
    ),
    rule(
      'adapters-are-apart',
      'An adapter implements ports of core and never imports another adapter.',
      { path: `^src/(${ADAPTERS})/` },
      { path: '^src/', pathNot: ['^src/(core|util|native)/', '^src/$1/'] },
    ),
    rule(
      'native-is-a-leaf',
      'The binding imports nothing but util and core types.',
      { path: '^src/native/' },
      { path: '^src/(?!native/|util/|core/)' },
    ),
    rule(
      'front-ends-call-runtime',
      'cri, streaming and admin call runtime; they never see an adapter.',
      { path: '^src/(cri|streaming|admin)/' },
      { path: `^src/(${ADAPTERS}|native|cli|config)/` },
    ),
    rule(
      'cli-is-a-client',
      'The command talks to sockets; it may use the client stub, the config schema and the host checks.',
      { path: '^src/cli/' },
      {
        path: '^src/',
        pathNot: [
          '^src/(cli|core|util|config)/',
          '^src/version\\.ts$',
          '^src/cri/(client\\.ts|gen/)',
          '^src/admin/client',
          // Raw mode: Node's own is none.
          '^src/native/binding\\.ts$',
        ],
      },
    ),
    rule(
      'grpc-in-front-ends-alone',
      'gRPC ends at cri/ and admin/.',
      { path: '^src/(?!cri/|admin/)' },
      { path: 'node_modules/@grpc/' },
    ),
    rule(
      'generated-code-in-cri-alone',
      'CRI messages end at cri/; the command uses them as a client.',
      { path: '^src/(?!cri/|cli/|admin/)' },
      { path: '^src/cri/gen/' },
    ),
    rule('no-unresolved', 'An import must resolve.', {}, { couldNotResolve: true }),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      extensions: ['.ts', '.js'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};
