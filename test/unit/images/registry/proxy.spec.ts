/** Requests through a proxy: by a tunnel for https, by the whole URL for http. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer as createTlsServer, type Server } from 'node:https';
import { createServer, type IncomingMessage } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { HttpClient, readBody } from '../../../../src/images/registry/http-client.js';
import { readProxySettings } from '../../../../src/images/registry/proxy-settings.js';
import { makeAuthority, makeCertificate } from '../../../support/certificates.js';
import { makeTempFolder, removeTempFolder } from '../../../support/temp.js';

describe('requests through a proxy', () => {
  let temp: string;
  let target: Server;
  const proxy = createServer();
  const seen: string[] = [];
  const asked = ({ method = '', url = '', headers }: IncomingMessage): string =>
    [method, url, headers['proxy-authorization'] ?? 'nobody'].join(' ');
  let refuses = false;

  before(async () => {
    temp = makeTempFolder();
    makeAuthority(temp);
    makeCertificate(temp, 'server', 'DNS:registry.example');
    const [key, cert] = ['server.key', 'server.crt'].map((name) => readFileSync(join(temp, name)));
    target = createTlsServer({ key, cert }, (_, response) => response.end('secure'));
    proxy.on('request', (request: IncomingMessage, response) => {
      seen.push(asked(request));
      response.end('plain');
    });
    // Whatever name is asked for, there is one registry; and nobody resolves the name but the proxy.
    proxy.on('connect', (request: IncomingMessage, client: Socket) => {
      seen.push(asked(request));
      if (refuses) {
        client.end('HTTP/1.1 403 Forbidden\r\n\r\n');
        return;
      }
      const upstream = connect((target.address() as AddressInfo).port, '127.0.0.1', () => {
        client.write('HTTP/1.1 200 OK\r\n\r\n');
        client.pipe(upstream).pipe(client);
      });
      for (const socket of [client, upstream]) {
        socket.on('error', () => undefined);
        socket.on('close', () => {
          client.destroy();
          upstream.destroy();
        });
      }
    });
    for (const server of [target, proxy])
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  after(() => {
    for (const server of [target, proxy]) {
      server.closeAllConnections();
      server.close();
    }
    removeTempFolder(temp);
  });
  beforeEach(() => {
    seen.length = 0;
    refuses = false;
  });

  async function get(url: string, userInfo = '', ca = true): Promise<string> {
    const address = `http://${userInfo}127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    const client = new HttpClient(
      url,
      {
        ca: ca ? [readFileSync(join(temp, 'ca.crt'), 'utf8')] : [],
        clientCertificates: [],
        skipVerify: false,
      },
      readProxySettings({ HTTP_PROXY: address, HTTPS_PROXY: address }),
    );
    const signal = new AbortController().signal;
    const { response } = await client.send(new URL(url), { headers: {}, ownHeaders: {}, signal });
    return Buffer.from(await readBody(response, 'answer', 100)).toString();
  }

  it('has a tunnel for https, and trusts what is at its end as ever', async () => {
    assert.equal(await get('https://registry.example/v2/'), 'secure');
    assert.deepEqual(seen, ['CONNECT registry.example:443 nobody']);
    await assert.rejects(get('https://registry.example/v2/', '', false), {
      kind: 'registry-unavailable',
      message: /through the proxy 127.0.0.1:\d+: .*certificate/,
    });
    await assert.rejects(get('https://other.example/v2/'), { message: /not for this name/ });
  });

  it('asks for the whole URL by http, with its own password', async () => {
    assert.equal(await get('http://registry.example:5000/v2/', 'me:se%20cret@'), 'plain');
    const basic = `Basic ${Buffer.from('me:se cret').toString('base64')}`;
    assert.deepEqual(seen, [`GET http://registry.example:5000/v2/ ${basic}`]);
  });

  it('says who refused', async () => {
    refuses = true;
    await assert.rejects(get('https://registry.example/'), {
      message: /registry.example cannot be reached through the proxy 127.0.0.1:\d+: .*403/,
    });
    await assert.rejects(get('https://169.254.169.254/'), { kind: 'permission-denied' });
  });
});
