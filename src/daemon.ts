/**
 * The agent's life: the order in which it starts, answers, reloads and stops.
 *
 *   config → lock → ports → listen → recover → streams → ready … stopping → calls end → closed
 *
 * Containers are never touched by a start or a stop.
 */
import type { Server } from 'node:net';
import { createAdminServer } from './admin/server.js';
import { compose, type Composition } from './compose.js';
import { diffConfig } from './config/diff.js';
import { loadConfig } from './config/load.js';
import { adminSocket, type Config } from './config/schema.js';
import { missingControllers } from './cri/node-status.js';
import type { FrontEnd } from './cri/front-end.js';
import { createCriServer } from './cri/server.js';
import { loadAddon } from './native/binding.js';
import { createLogger, type AgentLogger } from './observe/log.js';
import { listenMetrics } from './observe/metrics-server.js';
import { Notifier } from './observe/notify.js';
import { StatsCollector } from './runtime/stats.js';
import type { RuntimeContext } from './runtime/context.js';
import { checkAfterStart } from './runtime/image-check.js';
import { applyChanges } from './runtime/plugin-changes.js';
import { pluginState } from './runtime/plugin-events.js';
import { recover } from './runtime/recovery.js';
import { lockRoot } from './store/root-lock.js';
import { StreamingServer, type Transport } from './streaming/server.js';
import { spdyTransport } from './streaming/spdy/transport.js';
import { listenUnix } from './transport/unix-listener.js';
import { VERSION } from './version.js';

/** How long calls under way may take once a stop was asked for. */
const GRACE_MS = 10_000;

/** Runs until SIGTERM or SIGINT; resolves when everything of the agent's own is closed. */
export async function runAgent(configFile: string | undefined): Promise<void> {
  const loaded = await loadConfig(configFile);
  const log = createLogger({ level: loaded.config.log.level });
  const stop = stopSignal();
  const daemon = new Daemon(configFile, loaded.config, log);
  try {
    await daemon.start();
    const signal = await stop;
    log.info({ signal }, 'stopping; containers go on');
  } finally {
    await daemon.stop();
  }
}

class Daemon {
  readonly #configFile: string | undefined;
  #config: Config;
  readonly #log: AgentLogger;
  readonly #closers: (() => unknown)[] = [];
  #ready = false;

  constructor(configFile: string | undefined, config: Config, log: AgentLogger) {
    this.#configFile = configFile;
    this.#config = config;
    this.#log = log;
  }

  async start(): Promise<void> {
    const config = this.#config;
    const log = this.#log;
    const addon = loadAddon();
    const lock = lockRoot((path) => addon.lockFile(path), config);
    this.#closers.push(() => {
      lock.release();
    });
    const notifier = new Notifier({ notify: (message) => addon.notify(message), log });
    const composition = await compose(config, addon, log);
    const { context } = composition;
    this.#closers.push(() => composition.close());

    const streaming = new StreamingServer({
      log,
      transports: new Map<string, Transport>([
        ['spdy/3.1', spdyTransport],
        // Loaded for those who come with it: a kubelet speaks SPDY.
        [
          'websocket',
          async (upgrade, subject) => {
            const { webSocketTransport } = await import('./streaming/websocket/transport.js');
            await webSocketTransport(upgrade, subject);
          },
        ],
      ]),
    });
    const cri = createCriServer(
      context,
      { isReady: () => this.#ready, log },
      { version: VERSION, stats: new StatsCollector(context), streaming, config },
    );
    this.#closers.push(() => cri.close(GRACE_MS));
    // Listening first: whoever connects meanwhile is told UNAVAILABLE instead of finding no socket.
    const listener = await this.#listen(config.socket, process.env, cri, addon);
    this.#closers.push(() => listener.close());
    const admin = createAdminServer(context, { isReady: () => this.#ready, log });
    this.#closers.push(() => admin.close(GRACE_MS));
    const adminListener = await this.#listen(adminSocket(config), {}, admin, addon);
    this.#closers.push(() => adminListener.close());
    await recover(context);
    // Before anything is made: some plugins must not miss a container.
    if (composition.plugins) await this.#openPlugins(composition.plugins, context, addon);
    await streaming.listen(config.streaming.address, config.streaming.port);
    this.#closers.push(() => streaming.close());
    const { metrics } = composition;
    const scraped = metrics && (await listenMetrics(config.metrics.address, metrics));
    if (scraped) this.#closers.push(() => scraped.close());

    const missing = missingControllers(context);
    if (missing.length > 0) {
      log.warn(
        { missing },
        'cgroup v2 lacks controllers here: their limits and statistics are missing',
      );
    }
    await prepareAppArmor(context);
    this.#ready = true;
    const checking = new AbortController();
    const checked = checkAfterStart(context, checking.signal);
    this.#closers.push(() => {
      checking.abort();
      return checked;
    });
    const onReload = (): void => void this.#reload(composition, notifier);
    process.on('SIGHUP', onReload);
    this.#closers.push(() => process.off('SIGHUP', onReload));
    const watchdog = notifier.startWatchdog(() => this.#ready);
    this.#closers.push(() => {
      this.#ready = false;
      watchdog.stop();
      notifier.stopping('stopping; containers go on');
    });
    // Stays in `systemctl status` until a reload: only what does not change is true for so long.
    await notifier.ready(
      `ready; found ${[...context.objects.sandboxes()].length} pods and ${[...context.objects.containers()].length} containers at its start`,
    );
    log.info(
      {
        version: VERSION,
        socket: config.socket,
        streaming: streaming.url,
        ...(scraped && { metrics: scraped.url }),
        root: config.root,
      },
      'ready',
    );
  }

  async #openPlugins(
    { host, installed }: NonNullable<Composition['plugins']>,
    context: RuntimeContext,
    addon: ReturnType<typeof loadAddon>,
  ): Promise<void> {
    const { nri } = this.#config;
    this.#closers.push(() => {
      host.close();
      return installed.close();
    });
    host.open({
      state: () => pluginState(context),
      change: (changes) => applyChanges(context, changes),
    });
    await installed.start();
    if (nri.disable_connections) return;
    const listener = await this.#listen(
      nri.socket_path,
      {},
      { accept: (socket) => void host.accept(socket) },
      addon,
    );
    this.#closers.push(() => listener.close());
  }

  /** Closes in reverse order whatever start got to. */
  async stop(): Promise<void> {
    for (let close = this.#closers.pop(); close; close = this.#closers.pop()) {
      try {
        await close();
      } catch (error) {
        this.#log.error({ err: error }, 'cannot close cleanly');
      }
    }
  }

  #listen(
    path: string,
    env: NodeJS.ProcessEnv,
    frontEnd: Pick<FrontEnd, 'accept'>,
    addon: ReturnType<typeof loadAddon>,
  ): Promise<Server> {
    return listenUnix({
      path,
      env,
      peerCredentials: (fd) => addon.peerCredentials(fd),
      accept: (socket) => {
        frontEnd.accept(socket);
      },
      log: this.#log,
    });
  }

  async #reload(composition: Composition, notifier: Notifier): Promise<void> {
    notifier.reloading();
    try {
      const { config } = await loadConfig(this.#configFile);
      const { apply, needsRestart, effective } = diffConfig(this.#config, config);
      this.#config = effective;
      this.#log.setLevel(effective.log.level);
      composition.applyConfig(effective);
      this.#log.info({ apply, needsRestart }, 'configuration reloaded');
      notifier.reloaded('configuration reloaded');
    } catch (error) {
      this.#log.error({ err: error }, 'configuration not reloaded; the earlier one goes on');
      notifier.reloaded('configuration not reloaded; the earlier one goes on');
    }
  }
}

/** So that the first container need not wait for it; without it those that name no profile have none. */
async function prepareAppArmor({ host, log }: RuntimeContext): Promise<void> {
  if (!host.appArmor.enabled) return;
  try {
    await host.appArmor.loadDefault();
  } catch (error) {
    log.warn({ err: error }, 'containers that name no AppArmor profile will run without one');
  }
}

/** The handlers stay: a second signal must not cut the closing short. */
function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        resolve(signal);
      });
    }
  });
}
