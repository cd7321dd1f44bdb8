/** What a reload changes: the keys that take effect at once, and those that wait for a restart. */
import { isDeepStrictEqual } from 'node:util';
import { configKeys, valueAt } from './schema.js';
import type { Config } from './schema.js';

export interface ConfigDiff {
  /** Changed keys that the running agent takes over. */
  apply: string[];
  /** Changed keys that keep their old value until the agent is restarted. */
  needsRestart: string[];
  /** What the agent runs with after the reload. */
  effective: Config;
}

export function diffConfig(current: Config, next: Config): ConfigDiff {
  const changed = configKeys.filter(
    (key) => !isDeepStrictEqual(valueAt(current, key.path), valueAt(next, key.path)),
  );
  const apply = changed.filter((key) => key.reloadable).map((key) => key.path);
  const needsRestart = changed.filter((key) => !key.reloadable).map((key) => key.path);
  const effective = structuredClone(current);
  for (const path of apply) assign(effective, path, valueAt(next, path));
  return { apply, needsRestart, effective };
}

function assign(config: Config, dotted: string, value: unknown): void {
  const [section, key] = dotted.split('.');
  const sections = config as unknown as Record<string, Record<string, unknown> | undefined>;
  const target = sections[section ?? ''];
  // Only keys inside a section are reloadable: root, state and socket stand at the top and are not.
  if (target === undefined || key === undefined) throw new TypeError(`no section for ${dotted}`);
  target[key] = value;
}
