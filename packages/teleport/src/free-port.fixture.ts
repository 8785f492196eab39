// For the tests of every room, where a program must be told its port.
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';

/** Nobody listens on it just now; somebody may by the time it is used. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}
