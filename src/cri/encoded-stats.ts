/**
 * ListContainerStats as bytes: names, labels and annotations of a container are encoded once, and only
 * the figures anew. With large annotations they are most of the answer.
 */
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import type { Container } from '../runtime/objects.js';
import type { ContainerUsage } from '../runtime/stats.js';
import { toAttributes, toFigures } from './convert-stats.js';
import { ContainerAttributes, ContainerStats } from './gen/stats.js';

/** Tag of field 1, length-delimited (protobuf encoding, "Message Structure"). */
const FIELD_1 = 10;

export class EncodedStats {
  /** As field 1 of ContainerStats. Nothing of it ever changes. */
  readonly #attributes = new WeakMap<Container, Uint8Array>();

  response(usages: readonly ContainerUsage[]): Buffer {
    const parts: Uint8Array[] = [];
    for (const usage of usages) {
      const attributes = this.#attributesOf(usage);
      const figures = ContainerStats.encode({
        attributes: undefined,
        ...toFigures(usage),
      }).finish();
      const size = attributes.length + figures.length;
      parts.push(new BinaryWriter().uint32(FIELD_1).uint32(size).finish(), attributes, figures);
    }
    return Buffer.concat(parts);
  }

  #attributesOf(usage: ContainerUsage): Uint8Array {
    const known = this.#attributes.get(usage.container);
    if (known) return known;
    const message = ContainerAttributes.encode(toAttributes(usage)).finish();
    const bytes = new BinaryWriter().uint32(FIELD_1).bytes(message).finish();
    this.#attributes.set(usage.container, bytes);
    return bytes;
  }
}
