/** Listeners go on when a connection could not be accepted, as with too few descriptors. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { connect } from 'node:net';
import { once } from 'node:events';
import { listenUnix } from '../../../src/transport/unix-listener.js';
import { withTempFolder } from '../../support/temp.js';

describe('the CRI listener', () => {
  it('logs a failed accept and takes the next connection', async () => {
    await withTempFolder(async (folder) => {
      const logged: string[] = [];
      const note = (_fields: object, message: string) => {
        logged.push(message);
      };
      const path = join(folder, 'cri.sock');
      const server = await listenUnix({
        path,
        env: {},
        peerCredentials: () => ({ pid: 1, uid: 0, gid: 0 }),
        accept: (socket) => {
          socket.end('hello');
        },
        log: { debug: note, info: note, warn: note, error: note },
      });
      try {
        server.emit('error', Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' }));
        assert.deepEqual(logged, ['cannot accept a connection']);
        const [answer] = (await once(connect(path), 'data')) as [Buffer];
        assert.equal(answer.toString(), 'hello');
      } finally {
        server.close();
      }
    });
  });
});
