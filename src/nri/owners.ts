/** Which plugin asked for what: no two may set the same thing. */
import { RuntimeError } from '../core/errors.js';
import {
  CompoundFieldOwners,
  Field,
  type FieldOwners,
  type OwningPlugins,
} from './gen/validation.js';

/** A field as a whole has the key ''. */
interface Claim {
  field: Field;
  key: string;
  plugin: string;
  /** It was taken away by that plugin: whoever wants may set it again. */
  removed: boolean;
}

const FIELD_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(Field).map(([name, number]) => [number, name]),
);

export class Owners {
  readonly #claims = new Map<string, Map<string, Claim>>();

  claim(container: string, plugin: string, field: Field, key = ''): void {
    const { claims, id } = this.#at(container, field, key);
    const other = claims.get(id);
    if (other !== undefined && !other.removed) {
      const what = `${FIELD_NAMES.get(field) ?? field}${key === '' ? '' : ` ${JSON.stringify(key.slice(0, 200))}`}`;
      throw new RuntimeError(
        'aborted',
        `NRI plugins ${other.plugin} and ${plugin} both set ${what} of container ${container}: stop one of them, or configure it`,
      );
    }
    claims.set(id, { field, key, plugin, removed: false });
  }

  remove(container: string, plugin: string, field: Field, key = ''): void {
    const { claims, id } = this.#at(container, field, key);
    claims.set(id, { field, key, plugin, removed: true });
  }

  /** Of hooks, which add up: all who have set some. */
  share(container: string, plugin: string, field: Field): void {
    const { claims, id } = this.#at(container, field, '');
    const others = claims.get(id)?.plugin;
    const names = others === undefined ? plugin : `${others},${plugin}`;
    claims.set(id, { field, key: '', plugin: names, removed: false });
  }

  /** '' for nobody. */
  ownerOf(container: string, field: Field, key = ''): string {
    const { claims, id } = this.#at(container, field, key);
    const claim = claims.get(id);
    return claim === undefined || claim.removed ? '' : claim.plugin;
  }

  /** As validators are told. */
  toMessage(): OwningPlugins {
    const owners = new Map<string, FieldOwners>();
    for (const [container, claims] of this.#claims) {
      const found: FieldOwners = { simple: new Map(), compound: new Map() };
      for (const { field, key, plugin, removed } of claims.values()) {
        const name = removed ? `-${plugin}` : plugin;
        if (key === '') {
          found.simple.set(field, name);
        } else {
          const compound = found.compound.get(field) ?? CompoundFieldOwners.fromPartial({});
          compound.owners.set(key, name);
          found.compound.set(field, compound);
        }
      }
      owners.set(container, found);
    }
    return { owners };
  }

  #at(container: string, field: Field, key: string): { claims: Map<string, Claim>; id: string } {
    const claims = this.#claims.get(container) ?? new Map<string, Claim>();
    this.#claims.set(container, claims);
    return { claims, id: `${field} ${key}` };
  }
}
