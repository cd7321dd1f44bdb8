/** The host of the plugins, and what only they have heard of. */
import type { SandboxRecord } from '../core/model.js';
import type { PluginContainer, PluginHost } from '../core/ports/plugins.js';

export interface Plugins {
  host: PluginHost;
  /** What plugins have heard of and nobody else: on its way to the objects. */
  introduced: {
    pods: Map<string, SandboxRecord>;
    containers: Map<string, PluginContainer>;
  };
}

export function newPlugins(host: PluginHost): Plugins {
  return { host, introduced: { pods: new Map(), containers: new Map() } };
}
