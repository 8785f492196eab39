// A node as a process of its own, to be killed: `node daemon.fixture.ts CONFIG`. Says `listening PORT` on stdout;
// its service log goes to stderr, a JSON line each.
import { loadConfigFile } from '../../config/load-config.ts';
import { testRecorder } from './one-node.fixture.ts';
import { startTeleport } from './service.ts';

const log = (level: string) => (fields: object, message: string) =>
  process.stderr.write(`${JSON.stringify({ level, message, ...fields })}\n`);

const { config } = await loadConfigFile(process.argv[2]);
const service = await startTeleport(config, {
  version: '0.1.0',
  log: { debug: () => {}, info: log('info'), warn: log('warn'), error: log('error') },
  ...testRecorder(),
});
process.stdout.write(`listening ${service.ssh?.address.port}\n`);
process.once('SIGTERM', () => void service.stop('the test asked for it'));
