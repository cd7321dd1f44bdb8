/** What the layers need of a log: four levels, fields first, as pino has it. */

/** Field values are strings, numbers, booleans, null, arrays, plain objects; `err` is an Error. */
export type LogFields = Readonly<Record<string, unknown>>;

/** One call is one event is one line. Library code throws instead; see errors.ts. */
export interface Logger {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
}
