// errno by name, as this host's libc numbers them.
import { constants } from 'node:os';

const names = new Map<number, string>();
// Two names may share a number (EAGAIN, EWOULDBLOCK): the first listed stays.
for (const [name, number] of Object.entries(constants.errno)) {
  if (!names.has(number)) names.set(number, name);
}
// libuv's table, which Node exposes, lacks these.
for (const [name, number] of [
  ['ENOTBLK', 15],
  ['ESHUTDOWN', 108],
  ['EHOSTDOWN', 112],
] as const) {
  if (!names.has(number)) names.set(number, name);
}

/** @param errno positive */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `E${errno}`;
}
