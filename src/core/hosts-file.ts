/** A pod's /etc/hosts, as the kubelet writes it. */

export function formatHosts(hostname: string, ips: readonly string[]): string {
  return [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::\tip6-localnet',
    'ff00::\tip6-mcastprefix',
    'ff02::1\tip6-allnodes',
    'ff02::2\tip6-allrouters',
    ...ips.map((ip) => `${ip}\t${hostname}`),
    '',
  ].join('\n');
}
