// One daemon a data directory. A second one would "recover" the first one's living sessions. The lock is an
// abstract unix socket (unix(7)): the kernel takes it back with the process, however that dies.
import { createHash } from 'node:crypto';
import { realpath } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { AppError } from '@sallyport/contracts/errors.ts';

/** Resolves with how to let go; rejects with `conflict` while another daemon holds the directory. */
export async function lockDataDir(dataDir: string): Promise<() => void> {
  const path = await realpath(dataDir);
  const name = createHash('sha256').update(path).digest('hex');
  const server = createServer((socket) => socket.destroy());
  await listen(server, `\0sallyport-${name}`, path);
  server.unref();
  return () => server.close();
}

function listen(server: Server, address: string, dataDir: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new AppError(
          'conflict',
          'start.data_dir_in_use',
          `Another teleport uses the data directory ${dataDir}.`,
          {
            hint: 'Stop it, or give this one a data_dir of its own.',
            cause,
          },
        ),
      ),
    );
    server.listen(address, resolve);
  });
}
