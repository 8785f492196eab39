// Where the daemons of one data directory find each other's sessions: a socket a generation,
// `<data_dir>/generations/<id>.join`, that only root reaches. What is said there: ssh/sharing/next-door.ts.
import { chmod, readdir, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { NodeLog } from '../../../ssh/node-log.ts';
import type { SessionRegistry } from '../../../ssh/session-registry.ts';
import { type Neighbours, serveNextDoor } from '../../../ssh/sharing/next-door.ts';
import type { Generations } from './generations.ts';

const suffix = '.join';
/** Each is a joiner, and those are bounded for each session. */
const maxConnections = 1_024;
/** The other daemon runs on this host: it answers at once, or it hangs. */
const connectMs = 1_000;

export interface NextDoor {
  readonly neighbours: Neighbours;
  close(): Promise<void>;
}

export interface NextDoorOptions {
  readonly dataDir: string;
  readonly generations: Generations;
  readonly registry: SessionRegistry;
  readonly log: NodeLog;
}

export async function openNextDoor({
  dataDir,
  generations,
  registry,
  log,
}: NextDoorOptions): Promise<NextDoor> {
  const folder = join(dataDir, 'generations');
  const pathOf = (id: string) => join(folder, id + suffix);
  await removeDead(folder, generations);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    serveNextDoor(socket, registry).catch((err) => log.error({ err }, 'a joiner was not handed on'));
  });
  server.maxConnections = maxConnections;
  const path = pathOf(generations.id);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  await chmod(path, 0o600); // the folder is 0700 already
  return {
    neighbours: async () => {
      const others = await generations.others();
      const found = await Promise.all(others.map(({ id }) => dial(pathOf(id))));
      return found.filter((socket) => socket !== undefined);
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

async function removeDead(folder: string, { isLiving }: Generations): Promise<void> {
  for (const name of await readdir(folder))
    if (name.endsWith(suffix) && !isLiving(name.slice(0, -suffix.length)))
      await rm(join(folder, name), { force: true });
}

/** undefined: nobody listens there, or not in time. */
function dial(path: string): Promise<Socket | undefined> {
  const { promise, resolve } = Promise.withResolvers<Socket | undefined>();
  const socket = connect(path);
  socket.setTimeout(connectMs, () => socket.destroy());
  socket.once('connect', () => {
    socket.setTimeout(0);
    resolve(socket);
  });
  socket.once('error', () => {});
  socket.once('close', () => resolve(undefined));
  return promise;
}
