// List answers from cached parts are the same bytes that the generated encoder writes.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { EncodedItems } from '../../../src/cri/encoded-list.js';
import { Container, ListContainersResponse } from '../../../src/cri/gen/container.js';

interface Item {
  id: string;
  revision: number;
}

const message = (item: Item): Container =>
  Container.fromPartial({ id: item.id, labels: new Map([['k', item.id]]) });

describe('EncodedItems', () => {
  it('writes what the generated encoder writes', () => {
    fc.assert(
      fc.property(fc.array(fc.string()), (ids) => {
        const items = ids.map((id) => ({ id, revision: 0 }));
        const encoded = new EncodedItems<Item>((i) => Container.encode(message(i)).finish());
        const expected = ListContainersResponse.encode({ containers: items.map(message) }).finish();
        assert.deepEqual(encoded.response(items), Buffer.from(expected));
      }),
    );
  });

  it('encodes again after a change alone', () => {
    let count = 0;
    const encoded = new EncodedItems<Item>((i) => {
      count++;
      return Container.encode(message(i)).finish();
    });
    const item = { id: 'a', revision: 0 };
    encoded.response([item]);
    encoded.response([item]);
    assert.equal(count, 1);
    item.id = 'b';
    item.revision++;
    const [decoded] = ListContainersResponse.decode(encoded.response([item])).containers;
    assert.equal(decoded?.id, 'b');
    assert.equal(count, 2);
  });
});
