/** HTTP_PROXY, HTTPS_PROXY and NO_PROXY as Go's net/http reads them, so that one setting does for all runtimes. */
import { BlockList, isIP } from 'node:net';
import { RuntimeError } from '../../core/errors.js';
import { parseUrl } from '../../util/parse-url.js';
import { isLoopbackHost } from './address-guard.js';

export interface ProxySettings {
  http: URL | undefined;
  https: URL | undefined;
  /** True for a host that is asked without a proxy. */
  isExcepted: (host: string, port: string) => boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;
type Matcher = (host: string, port: string) => boolean;

export function readProxySettings(environment: Environment): ProxySettings {
  const read = (name: string): string => environment[name] || environment[name.toLowerCase()] || '';
  return {
    http: parseProxy('HTTP_PROXY', read('HTTP_PROXY')),
    https: parseProxy('HTTPS_PROXY', read('HTTPS_PROXY')),
    isExcepted: parseExceptions(read('NO_PROXY')),
  };
}

/** undefined for a direct connection, which this host itself always gets. */
export function proxyFor(url: URL, settings: ProxySettings): URL | undefined {
  const isSecure = url.protocol === 'https:';
  const proxy = isSecure ? settings.https : settings.http;
  const host = bare(url.hostname);
  if (proxy === undefined || host === 'localhost' || isLoopbackHost(url.hostname)) return undefined;
  const port = url.port || (isSecure ? '443' : '80');
  return settings.isExcepted(host, port) ? undefined : proxy;
}

function parseProxy(name: string, text: string): URL | undefined {
  if (text === '') return undefined;
  const url = parseUrl(text.includes('://') ? text : `http://${text}`);
  if (url && /^https?:$/.test(url.protocol) && isDecodable(url.username + url.password)) return url;
  // Not the value itself: it may hold a password.
  throw new RuntimeError(
    'failed-precondition',
    `${name} of the agent's environment is no http or https URL of a proxy`,
  );
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

function parseExceptions(text: string): Matcher {
  const matchers: Matcher[] = [];
  for (const item of text.split(',').map((part) => part.trim().toLowerCase())) {
    if (item === '*') return () => true;
    const matcher = item === '' ? undefined : parseException(item);
    if (matcher) matchers.push(matcher);
  }
  return (host, port) => matchers.some((matches) => matches(host, port));
}

function parseException(item: string): Matcher | undefined {
  const subnet = /^([0-9a-f.:]+)\/(\d{1,3})$/.exec(item);
  if (subnet) return parseSubnet(subnet[1] ?? '', Number(subnet[2]));
  const [, name = '', wanted = ''] = /^(\[[^\]]*\]|[^:]*):(\d+)$/.exec(item) ?? ['', item, ''];
  const host = bare(name);
  if (host === '') return undefined;
  const onPort = (port: string): boolean => wanted === '' || wanted === port;
  if (isIP(host) !== 0) {
    const list = new BlockList();
    list.addAddress(host, family(host));
    return (other, port) => onPort(port) && isIn(list, other);
  }
  // `.name` and `*.name` mean what is below it, `name` means itself too.
  const below = host.replace(/^\*\./, '.');
  if (below.startsWith('.')) return (other, port) => onPort(port) && other.endsWith(below);
  return (other, port) => onPort(port) && (other === below || other.endsWith(`.${below}`));
}

function parseSubnet(address: string, prefix: number): Matcher | undefined {
  if (isIP(address) === 0 || prefix > (isIP(address) === 6 ? 128 : 32)) return undefined;
  const list = new BlockList();
  list.addSubnet(address, prefix, family(address));
  return (host) => isIn(list, host);
}

function isIn(list: BlockList, host: string): boolean {
  return isIP(host) !== 0 && list.check(host, family(host));
}

function family(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4';
}

/** Without the brackets of an IPv6 address or the dot of a full name. */
function bare(host: string): string {
  return host.replace(/^\[|\]$/g, '').replace(/\.$/, '');
}
