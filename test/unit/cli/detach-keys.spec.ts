/** The keys that leave a container. */
import assert from 'node:assert/strict';
import { DetachKeys } from '../../../src/cli/detach-keys.js';

function type(...chunks: string[]): { sent: string; detached: boolean } {
  const keys = new DetachKeys();
  let sent = '';
  for (const chunk of chunks) {
    const { bytes, detached } = keys.filter(Buffer.from(chunk));
    sent += bytes.toString();
    if (detached) return { sent, detached };
  }
  return { sent, detached: false };
}

describe('detach keys', () => {
  it('are Ctrl-P Ctrl-Q, in one piece or two', () => {
    assert.deepEqual(type('ab\x10\x11cd'), { sent: 'ab', detached: true });
    assert.deepEqual(type('ab\x10', '\x11'), { sent: 'ab', detached: true });
    assert.deepEqual(type('\x10\x10\x11'), { sent: '\x10', detached: true });
  });

  it('are nothing special one by one', () => {
    assert.deepEqual(type('\x11a\x10', 'b\x11'), { sent: '\x11a\x10b\x11', detached: false });
    assert.deepEqual(type('\x10\x10x'), { sent: '\x10\x10x', detached: false });
    assert.deepEqual(type('x\x10'), { sent: 'x', detached: false });
  });
});
