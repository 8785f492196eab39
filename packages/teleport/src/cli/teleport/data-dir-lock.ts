// One daemon a data directory, or one and those it takes over from: they know of each other (generation/). A stranger
// would "recover" living sessions. The lock is an abstract unix socket (unix(7)): the kernel takes it back with the
// process, however that dies. It is handed down like any other socket.
import { createHash } from 'node:crypto';
import { realpath } from 'node:fs/promises';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Sockets } from './generation/sockets.ts';

/** Resolves with how to let go; rejects with `conflict` while another daemon holds the directory. */
export async function lockDataDir(dataDir: string, sockets: Sockets): Promise<() => void> {
  const path = await realpath(dataDir);
  const name = createHash('sha256').update(path).digest('hex');
  const server = await sockets.hold('lock', `\0sallyport-${name}`).catch((cause: unknown) => {
    throw inUse(path, cause);
  });
  return () => void server.close();
}

function inUse(dataDir: string, cause: unknown): AppError {
  return new AppError(
    'conflict',
    'start.data_dir_in_use',
    `Another teleport uses the data directory ${dataDir}.`,
    {
      hint: 'Stop it, or give this one a data_dir of its own.',
      cause,
    },
  );
}
