import assert from 'node:assert/strict';
import {
  checkHost,
  guardedLookup,
  isLoopbackHost,
} from '../../../../src/images/registry/address-guard.js';

describe('address guard', () => {
  it('knows this host by all its names', () => {
    for (const host of [
      'localhost',
      'LOCALHOST',
      'a.localhost',
      '127.0.0.1',
      '127.9.9.9',
      '[::1]',
    ]) {
      assert.equal(isLoopbackHost(host), true, host);
    }
    for (const host of ['localhost.example.org', '128.0.0.1', '[::2]', 'example.org', '']) {
      assert.equal(isLoopbackHost(host), false, host);
    }
  });

  it('refuses link-local addresses always, this host where it is pointed to', () => {
    for (const host of ['169.254.169.254', '[fe80::1]', '0.0.0.0', '[::]', '[fd00:ec2::254]']) {
      assert.throws(
        () => {
          checkHost(host, false);
        },
        { kind: 'permission-denied' },
      );
    }
    for (const host of ['127.0.0.1', '[::1]', 'localhost', '[::ffff:127.0.0.1]']) {
      assert.throws(
        () => {
          checkHost(host, true);
        },
        { kind: 'permission-denied' },
      );
    }
    for (const host of ['127.0.0.1', 'localhost', '10.0.0.1', '[fd00::1]', 'example.org']) {
      checkHost(host, false);
    }
    for (const host of ['10.0.0.1', '[fd00::1]', 'example.org']) checkHost(host, true);
  });

  it('passes on that a name is unknown', async () => {
    for (const all of [true, false]) {
      const error = await new Promise<Error | null>((resolve) => {
        guardedLookup(false)('no-such-host.invalid', { all }, resolve);
      });
      assert.match(String(error), /getaddrinfo (?:ENOTFOUND|EAI_AGAIN) no-such-host\.invalid/);
    }
  });

  it('refuses a name that stands for this host', async () => {
    const lookup = (isFollowed: boolean): Promise<unknown> =>
      new Promise((resolve, reject) => {
        guardedLookup(isFollowed)('localhost', { all: true }, (error, addresses) => {
          if (error) reject(error);
          else resolve(addresses);
        });
      });
    await assert.rejects(lookup(true), { kind: 'permission-denied' });
    assert.ok(Array.isArray(await lookup(false)));
  });
});
