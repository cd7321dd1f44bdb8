// Lint rules: typescript-eslint's strictest set, with the few deviations argued where they stand.
import eslint from '@eslint/js';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['build/', 'dist/', 'node_modules/', 'src/cri/gen/', 'src/nri/gen/'] },
  eslint.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/return-await': ['error', 'in-try-catch'],
      '@typescript-eslint/consistent-type-imports': 'error',
      // Numbers in messages are the rule here, and `${n}` says exactly what String(n) would.
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      // noPropertyAccessFromIndexSignature asks for brackets where this rule would ask for dots.
      '@typescript-eslint/dot-notation': 'off',
      'no-restricted-imports': ['error', { paths: ['child_process', 'node:child_process'] }],
      'no-console': 'error',
      'no-control-regex': 'off',
      eqeqeq: 'error',
    },
  },
  {
    // Tests and scripts drive the built command from outside, as a user would.
    files: ['test/**', 'scripts/**', 'bench/**', '*.js'],
    rules: {
      'no-restricted-imports': 'off',
      'no-console': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-floating-promises': [
        'error',
        { allowForKnownSafeCalls: ['describe', 'it', 'test'] },
      ],
    },
  },
);
