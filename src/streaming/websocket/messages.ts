/** Channel messages: a channel's number and bytes, in one WebSocket message. */

export interface ChannelMessage {
  readonly channel: number;
  readonly bytes: Buffer;
}

export interface MessageFormat {
  encode(channel: number, bytes: Uint8Array): Buffer | string;
  /** null for a message that belongs to no channel. */
  decode(message: Buffer): ChannelMessage | null;
}

/** The number is the first byte. */
export const BINARY: MessageFormat = {
  encode: (channel, bytes) => Buffer.concat([Buffer.of(channel), bytes]),
  decode: (message) => {
    const [channel] = message;
    return channel === undefined ? null : { channel, bytes: message.subarray(1) };
  },
};

/** Text: the number as a digit, and the bytes in base64. */
export const BASE64: MessageFormat = {
  encode: (channel, bytes) => `${channel}${Buffer.from(bytes).toString('base64')}`,
  decode: (message) => {
    const channel = (message[0] ?? 0) - 0x30;
    if (channel < 0 || channel > 9) return null;
    return { channel, bytes: Buffer.from(message.toString('latin1', 1), 'base64') };
  },
};
