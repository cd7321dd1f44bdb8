/** The config of an image: what it wants run, and the digests of its layers' contents. */
import { hasControlCharacter } from '../util/control-characters.js';
import { RuntimeError } from './errors.js';
import { isDigest } from './image-reference.js';
import type { JsonObject } from './json-shape.js';
import { asObject, asPairs, asString, asStrings, optional, property } from './json-shape.js';
import type { ImageConfig } from './model.js';
import type { Platform } from './oci.js';
import { MAX_CONFIG_BYTES } from './oci.js';
import { parseStrictJson } from './strict-json.js';

export interface ImageConfigDocument {
  platform: Platform;
  diffIds: string[];
  config: ImageConfig;
  /** RFC 3339, '' where it is absent or no such time. */
  created: string;
}

/**
 * Reads a config blob. Everything in it is hostile: values that can have no honest meaning are refused
 * here, and what passes selects nothing on the host. A label that looks like a key of ours is a label.
 */
export function parseImageConfig(bytes: Uint8Array, what: string): ImageConfigDocument {
  const document = asObject(parseStrictJson(bytes, what, MAX_CONFIG_BYTES), what);
  const rootfs = asObject(property(document, 'rootfs'), `${what}.rootfs`);
  const diffIds = optional(rootfs, 'diff_ids', `${what}.rootfs`, asStrings, []);
  for (const diffId of diffIds) {
    if (!isDigest(diffId)) {
      throw refused(
        `${what} has diff_id ${JSON.stringify(diffId.slice(0, 80))}, which is no sha256 digest`,
      );
    }
  }
  return {
    platform: {
      os: optional(document, 'os', what, asString, ''),
      architecture: optional(document, 'architecture', what, asString, ''),
      variant: optional(document, 'variant', what, asString, ''),
    },
    diffIds,
    config: optional(document, 'config', what, parseExecution, EMPTY_CONFIG),
    created: optional(document, 'created', what, parseTime, ''),
  };
}

/** For display alone: what is no time is left out. */
function parseTime(value: unknown, where: string): string {
  const text = asString(value, where);
  const isTime = /^\d{4}-\d\d-\d\dT[0-9:.]{8,18}(?:Z|[+-]\d\d:\d\d)$/.test(text);
  return isTime && !Number.isNaN(Date.parse(text)) ? text : '';
}

/** Of what has none, or says nothing in it. */
export const EMPTY_CONFIG: ImageConfig = {
  user: '',
  env: [],
  entrypoint: [],
  cmd: [],
  workingDir: '',
  volumes: [],
  stopSignal: '',
  labels: [],
};

function parseExecution(value: unknown, where: string): ImageConfig {
  const object = asObject(value, where);
  const env = optional(object, 'Env', where, asStrings, []);
  const nameless = env.find((entry) => entry.indexOf('=') < 1);
  if (nameless !== undefined) {
    throw refused(
      `${where}.Env has ${JSON.stringify(nameless.slice(0, 80))}, which is not KEY=value`,
    );
  }
  return {
    user: line(object, 'User', where),
    env,
    entrypoint: optional(object, 'Entrypoint', where, asStrings, []),
    cmd: optional(object, 'Cmd', where, asStrings, []),
    workingDir: line(object, 'WorkingDir', where),
    volumes: optional(object, 'Volumes', where, volumePaths, []),
    stopSignal: line(object, 'StopSignal', where),
    labels: optional(object, 'Labels', where, asPairs, []),
  };
}

/** A string that has one line. */
function line(object: JsonObject, key: string, where: string): string {
  return withoutControls(optional(object, key, where, asString, ''), `${where}.${key}`);
}

function volumePaths(value: unknown, where: string): string[] {
  return Object.keys(asObject(value, where)).map((path) => withoutControls(path, where));
}

function withoutControls(text: string, where: string): string {
  if (hasControlCharacter(text)) throw refused(`${where} contains a control character`);
  return text;
}

function refused(message: string): RuntimeError {
  return new RuntimeError('invalid-argument', message);
}
