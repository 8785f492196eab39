// For tests: a server's side of forwarding as a node would do it, an echo to forward to, and a real agent.
import { execFileSync, spawn } from 'node:child_process';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { ChannelAnswer } from './connection.ts';
import { joinStreams } from './join-streams.ts';
import { inFolder, until } from './openssh.fixture.ts';
import type { ConnectionHandler } from './ssh-server.ts';

export function connected(socket: Socket): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  socket.once('connect', () => resolve(socket)).once('error', reject);
  return promise;
}

async function answerWith(socket: Socket): Promise<ChannelAnswer> {
  try {
    await connected(socket);
  } catch {
    throw new AppError('unavailable', 'test.away', 'nobody listens there');
  }
  return { accept: (channel) => void joinStreams(channel, socket) };
}

export async function listenOn(server: Server, where: number | string): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  if (typeof where === 'string') server.listen(where, resolve);
  else server.listen(where, '127.0.0.1', resolve);
  await promise;
  const address = server.address();
  return typeof address === 'object' && address ? address.port : 0;
}

export interface Forwarding {
  readonly handler: ConnectionHandler;
  /** Port or path → the listener held for the client. */
  readonly listeners: Map<number | string, Server>;
}

export function forwarding(): Forwarding {
  const listeners = new Map<number | string, Server>();
  const hold = async (where: number | string, open: (from: Socket) => Promise<Duplex>) => {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      open(socket).then(
        (channel) => joinStreams(channel, socket),
        () => socket.destroy(),
      );
    });
    const port = await listenOn(server, where);
    listeners.set(port || where, server);
    return port;
  };
  const drop = (where: number | string) => {
    listeners.get(where)?.close();
    return listeners.delete(where);
  };
  const handler: ConnectionHandler = {
    directTcpip: ({ destination }) => answerWith(connect({ ...destination, allowHalfOpen: true })),
    directStreamlocal: ({ path }) => answerWith(connect({ path, allowHalfOpen: true })),
    remoteForward: ({ bind, open }) =>
      hold(bind.port, (from) => open({ host: from.remoteAddress ?? '', port: from.remotePort ?? 0 })),
    cancelRemoteForward: ({ port }) => drop(port),
    async remoteStreamlocalForward({ path, open }) {
      await hold(path, open);
      return true;
    },
    cancelRemoteStreamlocalForward: (path) => drop(path),
  };
  return { handler, listeners };
}

export interface Echo {
  readonly port: number;
  readonly path: string;
  stop(): void;
}

/** Sends back what comes, and ends when the other side did: only then, so that a lost EOF shows. */
export async function startEcho(name: string): Promise<Echo> {
  const serve = () =>
    createServer({ allowHalfOpen: true }, (socket) => socket.on('error', () => {}).pipe(socket));
  const [tcp, unix] = [serve(), serve()];
  const path = inFolder(name);
  const port = await listenOn(tcp, 0);
  await listenOn(unix, path);
  const stop = () => {
    tcp.close();
    unix.close();
  };
  return { port, path, stop };
}

/** What comes back when `bytes` are sent and ended. */
export async function exchange(stream: Duplex, bytes: Buffer): Promise<Buffer> {
  stream.end(bytes);
  return Buffer.concat(await stream.toArray());
}

/** OpenSSH's agent holding the ed25519 user key. */
export async function startAgent() {
  const path = inFolder('agent');
  const agent = spawn('ssh-agent', ['-D', '-a', path], { stdio: ['ignore', 'pipe', 'ignore'] });
  let said = '';
  agent.stdout.on('data', (text) => {
    said += text;
  });
  await until('the agent', () => said.includes('SSH_AUTH_SOCK'));
  execFileSync('ssh-add', ['-q', inFolder('user_ed25519')], {
    env: { ...process.env, SSH_AUTH_SOCK: path },
    stdio: 'pipe',
  });
  return { path, stop: () => agent.kill() };
}
