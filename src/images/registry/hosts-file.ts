/** The text of a hosts.toml (containerd, docs/hosts.md). */
import { parse } from 'smol-toml';
import { z } from 'zod';
import { RuntimeError } from '../../core/errors.js';
import { parseGoDuration } from '../../util/go-duration.js';

export type HostCapability = 'pull' | 'resolve' | 'push' | 'referrers';

export interface HostTable {
  capabilities?: readonly HostCapability[] | undefined;
  /** Files, relative ones to the folder of hosts.toml. */
  ca?: readonly string[] | undefined;
  /** Certificate and key; '' for a key that is in the certificate's file. */
  client?: readonly (readonly [cert: string, key: string])[] | undefined;
  skipVerify?: boolean | undefined;
  headers?: Readonly<Record<string, string>> | undefined;
  isPathComplete?: boolean | undefined;
  dialTimeoutMs?: number | undefined;
}

export interface HostsFile {
  /** undefined for the registry's own. */
  server: string | undefined;
  /** In the order of the file. */
  mirrors: [url: string, table: HostTable][];
  /** For the server. */
  table: HostTable;
}

const strings = z.union([z.string().transform((text) => [text]), z.array(z.string())]);
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

const headers = z
  .record(
    z.string(),
    strings
      .transform((values) => values.join(', '))
      .refine((value) => HEADER_VALUE.test(value), 'has characters that no header may have'),
  )
  .refine(
    (record) => Object.keys(record).every((name) => HEADER_NAME.test(name)),
    'has a key that is no name of a header',
  );

const client = z.union([
  z.string().transform((file): [string, string][] => [[file, '']]),
  z.array(
    z.union([
      z.string().transform((file): [string, string] => [file, '']),
      z.tuple([z.string(), z.string()]),
    ]),
  ),
]);

const duration = z.string().transform((text, context) => {
  const milliseconds = parseGoDuration(text);
  if (milliseconds !== undefined && milliseconds >= 1) return milliseconds;
  context.addIssue({ code: 'custom', message: 'is no duration like "3s" or "500ms"' });
  return z.NEVER;
});

const fields = {
  capabilities: z
    .array(
      z
        .string()
        .toLowerCase()
        .pipe(z.enum(['pull', 'resolve', 'push', 'referrers'])),
    )
    .optional(),
  ca: strings.optional(),
  client: client.optional(),
  skip_verify: z.boolean().optional(),
  header: headers.optional(),
  override_path: z.boolean().optional(),
  dial_timeout: duration.optional(),
};
const tableSchema = z.strictObject(fields);
const fileSchema = z.strictObject({
  ...fields,
  server: z.string().optional(),
  host: z.record(z.string(), tableSchema).optional(),
});

/** An unknown key is an error: what is misspelt would be without effect in silence. */
export function parseHostsFile(text: string): HostsFile {
  const read = fileSchema.safeParse(parse(text));
  if (!read.success) {
    throw new RuntimeError('failed-precondition', z.prettifyError(read.error));
  }
  const { server, host = {}, ...table } = read.data;
  return {
    server: server === '' ? undefined : server,
    mirrors: Object.entries(host).map(([url, each]) => [url, toTable(each)]),
    table: toTable(table),
  };
}

function toTable(table: z.infer<typeof tableSchema>): HostTable {
  return {
    // As for containerd an empty list says nothing.
    capabilities: table.capabilities?.length === 0 ? undefined : table.capabilities,
    ca: table.ca,
    client: table.client,
    skipVerify: table.skip_verify,
    headers: table.header,
    isPathComplete: table.override_path,
    dialTimeoutMs: table.dial_timeout,
  };
}
