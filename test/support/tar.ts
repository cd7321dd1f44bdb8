/** Tar archives byte by byte, hostile ones included. */

export interface TarEntry {
  name: string | Buffer;
  /** '0' file, '1' hard link, '2' symbolic link, '3' char, '4' block, '5' folder, '6' fifo. */
  type?: string;
  mode?: number;
  uid?: number;
  gid?: number;
  /** What the header claims; the length of `data` without it. */
  size?: number;
  mtime?: number;
  link?: string;
  data?: string | Buffer;
  /** Records of a pax header in front of the entry. */
  pax?: Record<string, string | Buffer>;
  /** Bytes of the header as they shall be, by offset; the checksum is right all the same. */
  patch?: Record<number, string | Buffer>;
}

export function file(
  name: string,
  data: string | Buffer = '',
  rest: Partial<TarEntry> = {},
): TarEntry {
  return { name, data, ...rest };
}

export function folder(name: string, rest: Partial<TarEntry> = {}): TarEntry {
  return { name, type: '5', mode: 0o755, ...rest };
}

export function symlink(name: string, link: string): TarEntry {
  return { name, type: '2', mode: 0o777, link };
}

export function hardlink(name: string, link: string): TarEntry {
  return { name, type: '1', link };
}

export function whiteout(name: string): TarEntry {
  const slash = name.lastIndexOf('/') + 1;
  return file(`${name.slice(0, slash)}.wh.${name.slice(slash)}`);
}

export function opaque(name: string): TarEntry {
  return file(`${name}/.wh..wh..opq`);
}

export function makeTar(entries: readonly TarEntry[]): Buffer {
  return Buffer.concat([...entries.flatMap(encode), Buffer.alloc(1024)]);
}

function encode(entry: TarEntry): Buffer[] {
  const name = Buffer.isBuffer(entry.name) ? entry.name : Buffer.from(entry.name);
  const data = Buffer.from(entry.data ?? '');
  const blocks: Buffer[] = [];
  const pax = { ...entry.pax };
  if (name.length > 100) pax['path'] ??= name;
  if ((entry.link?.length ?? 0) > 100) pax['linkpath'] ??= entry.link ?? '';
  if (Object.keys(pax).length > 0) {
    const records = Buffer.concat(Object.entries(pax).map(([key, value]) => paxRecord(key, value)));
    blocks.push(header({ name: 'pax', type: 'x' }, records.length), padded(records));
  }
  blocks.push(header(entry, entry.size ?? data.length), padded(data));
  return blocks;
}

function header(entry: TarEntry, size: number): Buffer {
  const block = Buffer.alloc(512);
  const put = (value: string | Buffer, at: number, length: number): void => {
    Buffer.from(value).copy(block, at, 0, Math.min(length, Buffer.from(value).length));
  };
  const number = (value: number, at: number, length: number): void => {
    const digits = value.toString(8);
    if (digits.length < length) {
      put(digits.padStart(length - 1, '0'), at, length - 1);
      return;
    }
    // GNU's base 256.
    for (let left = BigInt(value), i = length - 1; i > 0; i -= 1, left >>= 8n) {
      block[at + i] = Number(left & 0xffn);
    }
    block[at] = 0x80;
  };
  put(entry.name, 0, 100);
  number(entry.mode ?? 0o644, 100, 8);
  number(entry.uid ?? 0, 108, 8);
  number(entry.gid ?? 0, 116, 8);
  number(size, 124, 12);
  number(entry.mtime ?? 1_000_000_000, 136, 12);
  put('        ', 148, 8);
  put(entry.type ?? '0', 156, 1);
  put(entry.link ?? '', 157, 100);
  put('ustar\0' + '00', 257, 8);
  for (const [at, bytes] of Object.entries(entry.patch ?? {})) put(bytes, Number(at), 512);
  number(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  );
  block[155] = 0x20;
  return block;
}

/** `LENGTH KEY=VALUE\n`, where LENGTH counts itself. */
function paxRecord(key: string, value: string | Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')]);
  let length = rest.length;
  while (rest.length + String(length).length !== length)
    length = rest.length + String(length).length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

function padded(data: Buffer): Buffer {
  return Buffer.concat([data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
}
