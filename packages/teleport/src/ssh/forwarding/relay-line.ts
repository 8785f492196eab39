// The words between the daemon and a relay; the other end is packages/kernel/launcher/relay.c, which draws them.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Address } from '../../ssh-transport/connection.ts';

/** Where a connection goes to, or is waited for. */
export type Place = { readonly kind: 'tcp'; readonly address: Address } | UnixPlace;
export interface UnixPlace {
  readonly kind: 'unix';
  readonly path: string;
}
/**
 * A listener's: TCP listens on loopback; `agent` is a socket in a folder of its own; `display` the port of the first X
 * display from `first` on that is free.
 */
export type ListenPlace =
  | { readonly kind: 'tcp'; readonly port: number }
  | UnixPlace
  | { readonly kind: 'agent' }
  | { readonly kind: 'display'; readonly first: number };

/** One connection's process in the relay, and its descriptors for us: open the first to write, the second to read. */
export interface RelayEnds {
  readonly pid: number;
  readonly writeFd: number;
  readonly readFd: number;
}

export type RelayLine =
  | { readonly word: 'open'; readonly id: number; readonly ends: RelayEnds }
  | { readonly word: 'failed'; readonly id: number; readonly text: string }
  | { readonly word: 'listening'; readonly id: number; readonly where: string }
  | { readonly word: 'done'; readonly id: number }
  | {
      readonly word: 'incoming';
      readonly id: number;
      readonly ends: RelayEnds;
      readonly originator: Address;
    }
  | { readonly word: 'closed'; readonly pid: number };

/** As in relay.h. */
const maxPathBytes = 107;

export function connectLine(id: number, place: Place): string {
  if (place.kind === 'unix') return `connect ${id} unix ${checkedPath(place.path)}\n`;
  const { host, port } = place.address;
  // Nothing a resolver takes has a space in it; a line break would begin a command of the client's own.
  if (!/^[\x21-\x7e]{1,255}$/.test(host)) throw refused('That is not a host name.');
  return `connect ${id} tcp ${port} ${host}\n`;
}

export function listenLine(id: number, place: ListenPlace): string {
  switch (place.kind) {
    case 'tcp':
      return `listen ${id} tcp ${place.port}\n`;
    case 'unix':
      return `listen ${id} unix ${checkedPath(place.path)}\n`;
    case 'agent':
      return `listen ${id} agent\n`;
    case 'display':
      return `listen ${id} display ${place.first}\n`;
  }
}

/** What goes into the X authority file of the user. */
export interface DisplayCookie {
  /** As xauth names it: `unix:10.0`. */
  readonly display: string;
  readonly protocol: string;
  /** Hex digits. */
  readonly cookie: string;
}

export function cookieLine(id: number, { display, protocol, cookie }: DisplayCookie): string {
  // xauth reads commands, a line each: nothing but a word may come through.
  const words = [display, protocol, cookie];
  if (!words.every((word) => /^[\w:.-]{1,256}$/.test(word))) throw refused('That is no cookie of a display.');
  return `cookie ${id} ${words.join(' ')}\n`;
}

export function closeLine(id: number): string {
  return `close ${id}\n`;
}

/** undefined: not understood, which is a bug of ours. */
export function parseRelayLine(line: string): RelayLine | undefined {
  const [word, first, ...rest] = line.split(' ');
  const id = Number(first);
  switch (word) {
    case 'open':
      return { word, id, ends: ends(rest) };
    case 'failed':
      return { word, id, text: rest.join(' ') };
    case 'listening':
      return { word, id, where: rest.join(' ') };
    case 'done':
      return { word, id };
    case 'incoming':
      return { word, id, ends: ends(rest), originator: { host: rest[4] ?? '', port: Number(rest[3]) } };
    case 'closed':
      return { word, pid: id };
  }
  return undefined;
}

function ends([pid, writeFd, readFd]: readonly string[]): RelayEnds {
  return { pid: Number(pid), writeFd: Number(writeFd), readFd: Number(readFd) };
}

function checkedPath(path: string): string {
  // A relative path would be one of the relay's, of which the client knows nothing.
  if (!path.startsWith('/')) throw refused('The path of a socket must be absolute.');
  if (Buffer.byteLength(path) > maxPathBytes || /\p{Cc}/u.test(path))
    throw refused('That is no path of a socket.');
  return path;
}

function refused(message: string): AppError {
  return new AppError('bad_input', 'forwarding.address', message);
}
