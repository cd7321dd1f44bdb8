/** An agent with NRI, and the plugins a test connects to it. */
import { join } from 'node:path';
import { TestAgent } from './agent.js';
import { NriPlugin, type PluginHandlers } from './nri-plugin.js';
import { PodClient } from './pod-client.js';
import { makeTempFolder, removeTempFolder } from './temp.js';

export class NriAgent {
  readonly folder = makeTempFolder('/dev/shm');
  readonly socket = join(this.folder, 'nri.sock');
  readonly agent: TestAgent;
  readonly client: PodClient;
  readonly #plugins: NriPlugin[] = [];

  /** `settings` are lines of [nri], or tables after it. */
  constructor(settings = '') {
    this.agent = new TestAgent(
      `[nri]\nenable = true\nsocket_path = "${this.socket}"\nplugin_path = "${this.folder}/plugins"\n` +
        `plugin_config_path = "${this.folder}/conf.d"\n` +
        `plugin_request_timeout = "1s"\nplugin_registration_timeout = "3s"\n${settings}`,
      'debug',
      '/dev/shm',
    );
    this.client = new PodClient(this.agent);
  }

  async start(config: Record<string, unknown> = {}): Promise<void> {
    await this.agent.start();
    await this.client.pull(config);
  }

  async plug(name: string, handlers: PluginHandlers = {}): Promise<NriPlugin> {
    const plugin = await NriPlugin.connect(this.socket, name, handlers);
    this.#plugins.push(plugin);
    return plugin;
  }

  /** Without plugins and pods again. */
  async clear(): Promise<void> {
    for (const plugin of this.#plugins.splice(0)) {
      plugin.close();
      await plugin.closed();
    }
    const { items } = await this.agent.client.runtime.listPodSandbox({ filter: undefined });
    for (const { id } of items) await this.client.removePod(id);
  }

  /** Answers what is left of the agent. */
  async close(): Promise<string[]> {
    const left = await this.agent.close();
    removeTempFolder(this.folder);
    return left;
  }
}
