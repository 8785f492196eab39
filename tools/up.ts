/** `make up`: keeps a one-host cluster running until Ctrl-C and prints how to log in. Its folder is kept. */
import { join } from 'node:path';
import process from 'node:process';
import { OneHost, repository } from '../e2e/one-host.ts';

const cluster = await OneHost.start({ folder: join(repository, '.build', 'up') });
const args = await cluster.sshArgs('alice');
process.stdout.write(`A one-host cluster runs. Its folder: ${cluster.folder}

  log in      ssh ${args.join(' ')}
  watch       tail -f ${cluster.eventsLog}
  administer  ${join(repository, 'packages/teleport/bin/tctl')} -c ${cluster.configPath} --help

Ctrl-C stops it.
`);
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => void cluster.killDaemon('SIGTERM').then(() => process.exit(0)));
}
