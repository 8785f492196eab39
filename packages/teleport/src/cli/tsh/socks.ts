// The server half of SOCKS5 (RFC 1928), as much as -D needs: no authentication, CONNECT only.
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Address } from '../../ssh-transport/connection.ts';

const version = 5;
const connectCommand = 1;
const reply = { ok: 0, refused: 5, badCommand: 7, badAddress: 8 } as const;
const greetingTimeoutMs = 10_000;

/** Hands the connection over once the destination answered; ends it, with SOCKS's own reason, when it did not. */
export async function acceptSocks(
  socket: Socket,
  open: (to: Address) => Promise<Duplex>,
  splice: (socket: Socket, channel: Duplex) => void,
): Promise<void> {
  socket.setTimeout(greetingTimeoutMs, () => socket.destroy());
  const [said, methods] = await take(socket, 2);
  if (said !== version || methods === undefined) return void socket.destroy();
  const offered = await take(socket, methods);
  if (!offered.includes(0)) return void socket.end(Buffer.of(version, 0xff));
  socket.write(Buffer.of(version, 0));
  const [, command, , kind] = await take(socket, 4);
  const host = await readHost(socket, kind ?? 0);
  if (host === undefined) return void answer(socket, reply.badAddress);
  const port = (await take(socket, 2)).readUInt16BE(0);
  if (command !== connectCommand) return void answer(socket, reply.badCommand);
  let channel: Duplex;
  try {
    channel = await open({ host, port });
  } catch (error) {
    answer(socket, reply.refused);
    throw error;
  }
  socket.setTimeout(0);
  socket.write(header(reply.ok));
  splice(socket, channel);
}

async function readHost(socket: Socket, kind: number): Promise<string | undefined> {
  if (kind === 1) return (await take(socket, 4)).join('.');
  if (kind === 3) return (await take(socket, (await take(socket, 1))[0] ?? 0)).toString('latin1');
  if (kind !== 4) return undefined;
  const bytes = await take(socket, 16);
  return Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(i * 2).toString(16)).join(':');
}

/** The bound address is nobody's business: all zeros, as most servers answer. */
function header(code: number): Buffer {
  return Buffer.of(version, code, 0, 1, 0, 0, 0, 0, 0, 0);
}

function answer(socket: Socket, code: number): void {
  socket.end(header(code));
}

/** Exactly so many bytes. Rejects when the peer leaves before. */
async function take(socket: Socket, count: number): Promise<Buffer> {
  if (count === 0) return Buffer.alloc(0);
  for (;;) {
    const bytes: Buffer | null = socket.read(count);
    // At the end of a stream read() hands over less than asked.
    if (bytes !== null && bytes.length === count) return bytes;
    if (bytes !== null || socket.readableEnded || socket.destroyed) throw new Error('the SOCKS client left');
    await new Promise<void>((ready) => {
      const wake = () => {
        socket.off('readable', wake).off('end', wake).off('close', wake);
        ready();
      };
      socket.on('readable', wake).on('end', wake).on('close', wake);
    });
  }
}
