/** The Host header, checked: a web page must not reach the streaming server by a name of its own. */
import type { IncomingMessage } from 'node:http';
import { StreamRefused } from './refusal.js';

const LOOPBACK = ['127.0.0.1', '[::1]', 'localhost'];

/**
 * Lets through who asked for this very address, and kubelets. A kubelet before 1.36, and a newer one for
 * WebSocket, passes on what the API server's client sent, its Host included
 * (apimachinery/pkg/util/proxy, UpgradeAwareHandler without UseLocationHost), and adds
 * X-Forwarded-For. A page cannot: browsers let no script set a header on a WebSocket's request, and
 * none set Upgrade on others.
 */
export function checkHost({ headers }: IncomingMessage, ownUrl: string): void {
  const own = new URL(ownUrl);
  const host = headers.host?.toLowerCase();
  const names = [own.hostname, ...LOOPBACK].map((name) =>
    own.port === '' ? name : `${name}:${own.port}`,
  );
  if (host !== undefined && names.includes(host)) return;
  if (headers['x-forwarded-for'] !== undefined) return;
  throw new StreamRefused(403, `the streaming server is not called ${JSON.stringify(host ?? '')}`);
}
