/** Turns one JSON event of pino into one line: message first, then key=value, secrets taken out. */

export type LineForm = 'journal' | 'text';

interface Event {
  level: number;
  time?: number;
  msg?: string;
  /** A text when pino could not serialise what was given. */
  fields?: Record<string, unknown> | string;
}

/** pino's level, its name, and syslog's priority as sd-daemon(3) puts it before a line. */
const LEVELS = [
  { from: 60, name: 'FATAL', priority: 2 },
  { from: 50, name: 'ERROR', priority: 3 },
  { from: 40, name: 'WARN ', priority: 4 },
  { from: 30, name: 'INFO ', priority: 6 },
  { from: 20, name: 'DEBUG', priority: 7 },
];
const TRACE = { name: 'TRACE', priority: 7 };

// journald breaks a line at LineMax=48K bytes; 16,000 UTF-16 units are at most 48,000 bytes of UTF-8.
const MAX_LINE = 15_900;
const MAX_VALUE = 8_000;

const SECRET_NAME = /password|passwd|secret|token|authorization|credential|(?:^|\.)auth$/i;
const SECRET_TEXT = /(\/\/)[^/@\s]*:[^/@\s]*(@)|(\b(?:bearer|basic)\s+)[A-Za-z0-9+/=._~-]{8,}/gi;
const REDACTED = '[redacted]';

// Ends a line, moves the cursor, or reverses text on somebody's terminal.
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;
const PLAIN = /^[\w./:@+,-]+$/;

export function formatLine(json: string, form: LineForm): string {
  const event = JSON.parse(json) as Event;
  const level = LEVELS.find(({ from }) => event.level >= from) ?? TRACE;
  const words = [escape(redactText(event.msg ?? ''))];
  const fields = typeof event.fields === 'string' ? { fields: event.fields } : event.fields;
  for (const [name, value] of Object.entries(fields ?? {})) addField(words, name, value);
  const time = new Date(event.time ?? 0).toISOString();
  const start = form === 'journal' ? `<${level.priority}>` : `${time} ${level.name} `;
  return `${cut(start + words.join(' '), MAX_LINE)}\n`;
}

function addField(words: string[], name: string, value: unknown): void {
  const key = name.replace(/[^\w.-]/g, '_');
  if (SECRET_NAME.test(name)) {
    words.push(`${key}=${REDACTED}`);
  } else if (isTable(value)) {
    for (const [inner, member] of Object.entries(value)) {
      // err.message is what err is: err="…".
      if (inner === 'message') addField(words, name, member);
      else addField(words, `${name}.${inner}`, member);
    }
  } else if (typeof value === 'string') {
    words.push(`${key}=${quote(redactText(value))}`);
  } else {
    words.push(`${key}=${quote(JSON.stringify(redact(value)))}`);
  }
}

/** Arrays, and what is in them. */
function redact(value: unknown): unknown {
  if (typeof value === 'string') return redactText(value);
  if (Array.isArray(value)) return value.map(redact);
  if (!isTable(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      name,
      SECRET_NAME.test(name) ? REDACTED : redact(member),
    ]),
  );
}

function redactText(text: string): string {
  return text.replace(
    SECRET_TEXT,
    (_, slashes: string | undefined, at: string | undefined, scheme: string | undefined) =>
      slashes === undefined ? `${scheme ?? ''}${REDACTED}` : `${slashes}${REDACTED}${at ?? ''}`,
  );
}

function quote(text: string): string {
  const short = cut(text, MAX_VALUE);
  if (PLAIN.test(short)) return short;
  return `"${escape(short.replace(/["\\]/g, '\\$&'))}"`;
}

function escape(text: string): string {
  return text.replace(UNSAFE, (character) => {
    if (character === '\n') return '\\n';
    if (character === '\t') return '\\t';
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length)}…`;
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
