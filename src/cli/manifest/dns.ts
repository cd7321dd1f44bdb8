/** A pod's resolver settings and hosts file, as the kubelet makes them. */
import { formatHosts } from '../../core/hosts-file.js';
import { DNSConfig } from '../../cri/gen/index.js';
import type { PodSpec } from './schema.js';

/**
 * The host's resolv.conf stands for every policy but None: there is no cluster DNS here, and without
 * one the kubelet falls back to Default as well. dnsConfig adds to it.
 */
export function podDns(spec: PodSpec, hostResolvConf: string): DNSConfig {
  const base =
    spec.dnsPolicy === 'None'
      ? { servers: [], searches: [], options: [] }
      : parseResolvConf(hostResolvConf);
  const { nameservers, searches, options } = spec.dnsConfig;
  const own = options.map(({ name, value }) => (value === undefined ? name : `${name}:${value}`));
  return DNSConfig.create({
    servers: unique([...base.servers, ...nameservers]),
    searches: unique([...base.searches, ...searches]),
    options: mergeOptions(base.options, own),
  });
}

/** resolv.conf(5): the last `search` or `domain` line counts, options add up. */
export function parseResolvConf(text: string): {
  servers: string[];
  searches: string[];
  options: string[];
} {
  const servers: string[] = [];
  let searches: string[] = [];
  const options: string[] = [];
  for (const line of text.split('\n')) {
    const [keyword, ...words] = line
      .replace(/[#;].*$/, '')
      .trim()
      .split(/\s+/);
    if (keyword === 'nameserver') servers.push(...words.slice(0, 1));
    else if (keyword === 'search' || keyword === 'domain') searches = words;
    else if (keyword === 'options') options.push(...words);
  }
  return { servers, searches, options };
}

/** A later `ndots:2` replaces an earlier `ndots:5`. */
function mergeOptions(base: readonly string[], own: readonly string[]): string[] {
  const byName = new Map([...base, ...own].map((option) => [option.split(':')[0], option]));
  return [...byName.values()];
}

function unique(list: readonly string[]): string[] {
  return [...new Set(list)];
}

/** On the host's network the pod sees the host's own file, with the aliases behind it. */
export function hostsFile(
  spec: PodSpec,
  pod: { hostname: string; ips: readonly string[] },
  hostFile: string,
): string {
  const head = spec.hostNetwork
    ? hostFile.replace(/\n*$/, '\n')
    : formatHosts(pod.hostname, pod.ips);
  const aliases = spec.hostAliases.map(({ ip, hostnames }) => `${ip}\t${hostnames.join('\t')}\n`);
  return head + aliases.join('');
}
