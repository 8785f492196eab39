// -L, -R and -D: ports here that lead out at the node, ports there that lead back, and a SOCKS proxy.
import { connect, createServer, type Server, type Socket } from 'node:net';
import { type Duplex, pipeline } from 'node:stream';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Address } from '../../ssh-transport/connection.ts';
import type { SshClient } from '../../ssh-transport/ssh-client.ts';
import { notice } from '../output.ts';
import { refusalReason } from './connect-node.ts';
import { acceptSocks } from './socks.ts';

export interface ForwardFlags {
  readonly local: readonly string[];
  readonly remote: readonly string[];
  readonly dynamic: readonly string[];
}

export interface Forward {
  readonly bind: Address;
  /** Absent for -D: whoever connects says it. */
  readonly to?: Address;
}

export interface RunningForwards {
  close(): Promise<void>;
}

/** All of them, or none and an error: a forward that silently is not there misleads. */
export async function startForwards(client: SshClient, flags: ForwardFlags): Promise<RunningForwards> {
  const close: (() => unknown)[] = [];
  try {
    for (const text of flags.local) close.push(await listenLocal(client, parseForward('-L', text)));
    for (const text of flags.dynamic) close.push(await listenSocks(client, parseDynamic(text)));
    for (const text of flags.remote) close.push(await listenRemote(client, parseForward('-R', text)));
  } catch (error) {
    for (const each of close) await each();
    throw error;
  }
  return {
    close: async () => {
      for (const each of close) await each();
    },
  };
}

const part = String.raw`(?:\[([^\]]*)\]|([^:[\]]*))`;
const withBind = new RegExp(`^(?:${part}:)?(\\d{1,5}):${part}:(\\d{1,5})$`);
const dynamicForm = new RegExp(`^(?:${part}:)?(\\d{1,5})$`);

/** `[bind_address:]port:host:hostport`, IPv6 addresses in brackets. Without a bind address: this machine only. */
export function parseForward(flag: string, text: string): Forward & { readonly to: Address } {
  const match = withBind.exec(text);
  const port = Number(match?.[6]);
  if (match === null || Number(match[3]) > 65_535 || port > 65_535 || port === 0) {
    throw badForward(flag, text, '[bind_address:]port:host:hostport');
  }
  return {
    bind: { host: match[1] ?? match[2] ?? 'localhost', port: Number(match[3]) },
    to: { host: match[4] ?? match[5] ?? '', port },
  };
}

export function parseDynamic(text: string): Forward {
  const match = dynamicForm.exec(text);
  if (match === null || Number(match[3]) > 65_535) throw badForward('-D', text, '[bind_address:]port');
  return { bind: { host: match[1] ?? match[2] ?? 'localhost', port: Number(match[3]) } };
}

function badForward(flag: string, text: string, form: string): AppError {
  return new AppError('bad_input', 'tsh.bad_forward', `${flag} takes ${form}, not "${text}".`);
}

async function listenLocal(client: SshClient, { bind, to }: Forward & { readonly to: Address }) {
  return listen('-L', bind, async (socket) =>
    splice(socket, await client.directTcpip(to, originator(socket))),
  );
}

async function listenSocks(client: SshClient, { bind }: Forward) {
  return listen('-D', bind, (socket) =>
    acceptSocks(socket, async (to) => client.directTcpip(to, originator(socket)), splice),
  );
}

async function listenRemote(client: SshClient, { bind, to }: Forward & { readonly to: Address }) {
  const listener = await client
    .remoteForward(bind, (channel) => {
      const socket = connect({ host: to.host, port: to.port, noDelay: true });
      splice(socket, channel);
    })
    .catch((cause: unknown) => {
      // The protocol has no place for a reason.
      throw new AppError(
        'denied',
        'tsh.no_remote_forward',
        `-R: the node does not listen on port ${bind.port} for you.`,
        {
          cause,
          hint: 'The port is taken there, or no role of yours has the option `port_forwarding`.',
        },
      );
    });
  if (bind.port === 0) notice(`Allocated port ${listener.port} for remote forward to ${to.host}:${to.port}`);
  return () => listener.cancel();
}

async function listen(
  flag: string,
  bind: Address,
  serve: (socket: Socket) => Promise<void>,
): Promise<() => void> {
  const live = new Set<Socket>();
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    live.add(socket);
    socket.once('close', () => live.delete(socket));
    socket.on('error', () => {});
    serve(socket).catch((error: unknown) => {
      const told = AppError.from(error);
      const reason = refusalReason(told);
      notice(`${flag}: ${reason === undefined ? told.message : `the node does not connect: ${reason}.`}`);
      socket.destroy();
    });
  });
  await listening(server, flag, bind);
  return () => {
    server.close();
    for (const socket of live) socket.destroy();
  };
}

function listening(server: Server, flag: string, bind: Address): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const host = bind.host === '' || bind.host === '*' ? undefined : bind.host;
  server.once('error', (cause) =>
    reject(
      new AppError(
        'unavailable',
        'tsh.cannot_listen',
        `${flag}: cannot listen on ${bind.host}:${bind.port}: ${cause.message}.`,
        {
          cause,
        },
      ),
    ),
  );
  server.listen({ host, port: bind.port }, resolve);
  return promise;
}

function originator(socket: Socket): Address {
  return { host: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 };
}

/** Each direction ends by itself; an error on either side ends both. */
function splice(socket: Socket, channel: Duplex): void {
  const done = (error: unknown) => {
    if (error === undefined || error === null) return;
    socket.destroy();
    channel.destroy();
  };
  pipeline(socket, channel, done);
  pipeline(channel, socket, done);
}
