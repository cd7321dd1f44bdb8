/**
 * List answers made of parts that are encoded once per change: the kubelet lists everything every
 * second, and encoding 500 containers anew each time would hold the event loop for milliseconds.
 */
import { BinaryWriter } from '@bufbuild/protobuf/wire';

interface Versioned {
  readonly revision: number;
}

/** Caches the encoded list item of each object until its revision changes. */
export class EncodedItems<T extends Versioned> {
  readonly #cache = new WeakMap<T, { revision: number; bytes: Uint8Array }>();
  readonly #encode: (object: T) => Uint8Array;

  /** `encode` gives the bare message of one object. */
  constructor(encode: (object: T) => Uint8Array) {
    this.#encode = encode;
  }

  /** The response message: every object as an element of its repeated field number 1. */
  response(objects: Iterable<T>): Buffer {
    const parts: Uint8Array[] = [];
    for (const object of objects) parts.push(this.#item(object));
    return Buffer.concat(parts);
  }

  #item(object: T): Uint8Array {
    const cached = this.#cache.get(object);
    if (cached?.revision === object.revision) return cached.bytes;
    // Tag 10 is field 1, length-delimited (protobuf encoding, "Message Structure").
    const bytes = new BinaryWriter().uint32(10).bytes(this.#encode(object)).finish();
    this.#cache.set(object, { revision: object.revision, bytes });
    return bytes;
  }
}
