/** resolv.conf(5) from a pod's DNS settings. */
import type { DnsConfig } from './model.js';
import { requireNoControl } from './text.js';

/** The file's text. Every word is one word: a space or newline in it would change the file's meaning. */
export function formatResolvConf(dns: DnsConfig): string {
  const lines: string[] = [];
  if (dns.searches.length > 0)
    lines.push(`search ${dns.searches.map(word('search domain')).join(' ')}`);
  for (const server of dns.servers) lines.push(`nameserver ${word('DNS server')(server)}`);
  if (dns.options.length > 0)
    lines.push(`options ${dns.options.map(word('DNS option')).join(' ')}`);
  return lines.map((line) => `${line}\n`).join('');
}

function word(what: string): (value: string) => string {
  return (value) => requireNoControl(what, value).trim().replace(/\s+/g, '');
}
