/** The filters of List calls: what is given must match, all of it. */
import type { Pairs } from '../core/model.js';
import type { Container, Sandbox } from '../runtime/objects.js';

export function* matching<T>(objects: Iterable<T>, wanted: (object: T) => boolean): Iterable<T> {
  for (const object of objects) if (wanted(object)) yield object;
}

export function matchesContainer(
  each: Container,
  filter: { id: string; podSandboxId: string; labelSelector: Map<string, string> },
): boolean {
  return (
    each.id.startsWith(filter.id) &&
    each.record.sandboxId.startsWith(filter.podSandboxId) &&
    hasLabels(each.record.labels, filter.labelSelector)
  );
}

export function matchesSandbox(
  each: Sandbox,
  filter: { id: string; labelSelector: Map<string, string> },
): boolean {
  return each.id.startsWith(filter.id) && hasLabels(each.record.labels, filter.labelSelector);
}

function hasLabels(labels: Pairs, selector: ReadonlyMap<string, string>): boolean {
  for (const [key, value] of selector) {
    if (!labels.some(([k, v]) => k === key && v === value)) return false;
  }
  return true;
}
