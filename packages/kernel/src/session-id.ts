// A session's uuid: 16 bytes on the wire, text everywhere else.
import { SESSION_ID_LEN } from './wire.gen.ts';

const textual = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export function sessionIdText(bytes: Buffer, offset: number): string {
  const hex = bytes.toString('hex', offset, offset + SESSION_ID_LEN);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** Undefined when the text is no uuid in lower case: it also names a file, so nothing else may pass. */
export function sessionIdBytes(text: string): Buffer | undefined {
  return textual.test(text) ? Buffer.from(text.replaceAll('-', ''), 'hex') : undefined;
}
