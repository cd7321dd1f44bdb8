/** Images by what they may be called: tags, digest references, ids and beginnings of ids. */
import { hexOf } from '../../core/digest.js';
import { RuntimeError } from '../../core/errors.js';
import type { ImageId } from '../../core/ids.js';
import { formatImageReference, parseImageReference } from '../../core/image-reference.js';
import type { ImageRecord } from '../../core/model.js';
import { templateNameOf } from '../template/name.js';

export class ImageNames {
  /** Every tag and digest reference. */
  readonly #names = new Map<string, ImageId>();
  #ids: ImageId[] = [];

  index(images: Iterable<ImageRecord>): void {
    this.#names.clear();
    this.#ids = [];
    for (const { id, repoTags, repoDigests } of images) {
      this.#ids.push(id);
      for (const name of [...repoTags, ...repoDigests]) this.#names.set(name, id);
    }
  }

  find(reference: string): ImageId | undefined {
    return this.#findName(reference) ?? this.#findId(reference) ?? this.#findTemplate(reference);
  }

  /** Whether it is a tag or a digest reference of an image, rather than an id. */
  isName(reference: string): boolean {
    return this.#findName(reference) !== undefined;
  }

  #findName(reference: string): ImageId | undefined {
    try {
      return this.#names.get(formatImageReference(parseImageReference(reference)));
    } catch (error) {
      // An id, a path, or nonsense: not a name in any case.
      if (error instanceof RuntimeError) return undefined;
      throw error;
    }
  }

  #findId(reference: string): ImageId | undefined {
    const hex = reference.startsWith('sha256:') ? hexOf(reference) : reference;
    if (!/^[0-9a-f]{8,64}$/.test(hex)) return undefined;
    const found = this.#ids.filter((id) => hexOf(id).startsWith(hex));
    return found.length === 1 ? found[0] : undefined;
  }

  /** By where it came from: nothing is looked at, so an image stays what it was when it was pulled. */
  #findTemplate(reference: string): ImageId | undefined {
    try {
      return this.#names.get(templateNameOf(reference) ?? '');
    } catch (error) {
      if (error instanceof RuntimeError) return undefined;
      throw error;
    }
  }
}
