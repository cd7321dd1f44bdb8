import assert from 'node:assert/strict';
import fc from 'fast-check';
import { proxyFor, readProxySettings } from '../../../../src/images/registry/proxy-settings.js';

const PROXIES = { HTTP_PROXY: 'http://plain:3128', HTTPS_PROXY: 'secure:8080' };

describe('proxy settings', () => {
  const proxy = (url: string, environment: Record<string, string>): string | undefined =>
    proxyFor(new URL(url), readProxySettings(environment))?.host;

  it('has a proxy for each scheme, upper case before lower case', () => {
    assert.equal(proxy('http://a/', PROXIES), 'plain:3128');
    assert.equal(proxy('https://a/', PROXIES), 'secure:8080');
    assert.equal(proxy('https://a/', { HTTP_PROXY: 'http://plain:3128' }), undefined);
    assert.equal(proxy('http://a/', { http_proxy: 'lower' }), 'lower');
    assert.equal(proxy('http://a/', { http_proxy: 'lower', HTTP_PROXY: 'upper' }), 'upper');
    assert.equal(proxy('http://a/', { HTTP_PROXY: '' }), undefined);
  });

  it('never asks one for this host itself', () => {
    for (const host of ['localhost', '127.0.0.1', '127.9.9.9:5000', '[::1]:5000'])
      assert.equal(proxy(`http://${host}/`, PROXIES), undefined);
  });

  for (const [exceptions, without, through] of [
    ['*', ['http://any/', 'https://1.2.3.4/'], []],
    [
      'example.org',
      ['http://example.org/', 'https://a.b.EXAMPLE.org:5/'],
      ['http://anexample.org/'],
    ],
    ['.example.org', ['http://a.example.org/'], ['http://example.org/']],
    ['*.example.org', ['http://a.example.org/'], ['http://example.org/']],
    ['a:8080, b:443', ['http://a:8080/', 'https://b/'], ['http://a/', 'http://b/']],
    [
      '10.0.0.0/8',
      ['http://10.1.2.3/', 'https://10.9.9.9:5000/'],
      ['http://11.0.0.1/', 'http://a10/'],
    ],
    ['192.168.1.1', ['http://192.168.1.1/'], ['http://192.168.1.10/']],
    ['192.168.1.1:80', ['http://192.168.1.1/'], ['https://192.168.1.1/']],
    ['fd00::/8,[fe00::1]:80', ['http://[fd00::5]/', 'http://[fe00::1]/'], ['https://[fe00::1]/']],
    [' ,nonsense/99,:80,', [], ['http://a/']],
  ] as const) {
    it(`excepts ${JSON.stringify(exceptions)}`, () => {
      for (const name of ['NO_PROXY', 'no_proxy']) {
        const environment = { ...PROXIES, [name]: exceptions };
        for (const url of without) assert.equal(proxy(url, environment), undefined, url);
        for (const url of through) assert.notEqual(proxy(url, environment), undefined, url);
      }
    });
  }

  it('names the variable that is no proxy, and not what is in it', () => {
    for (const value of ['socks5://user:secret@a', 'http://', 'http://%zz:secret@a', 'a b'])
      assert.throws(
        () => readProxySettings({ HTTPS_PROXY: value }),
        (error: Error) => /HTTPS_PROXY/.test(error.message) && !error.message.includes('secret'),
      );
  });

  it('takes any exceptions', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (exceptions) => {
        proxy('http://a.b/', { ...PROXIES, NO_PROXY: exceptions });
      }),
    );
  });
});
