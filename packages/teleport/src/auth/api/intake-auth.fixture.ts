// An auth service that takes events in until it is killed. argv: its folder, the host it believes everybody to be.
import { join } from 'node:path';
import { authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { FileLog } from '../../audit/file-log.ts';
import { collectedLog, testRules } from './api.fixture.ts';
import { startApiServer } from './api-server.ts';
import { sampleHandlers } from './auth-routes.fixture.ts';
import { EventIntake } from './event-intake.ts';

const [dir = '', hostUuid = ''] = process.argv.slice(2);
const hostId = '9048a649-8f3f-4431-9529-0c53339b65a5';
const logDir = join(dir, 'log');
const log = collectedLog();
const audit = await FileLog.open({ logDir, hostId, durability: 'written' });
const stateDir = join(dir, 'intake');
const intake = await EventIntake.open({ audit, logDir, hostId, stateDir, clusterName: 'purple', log });
await startApiServer({
  routes: authRoutes,
  handlers: {
    ...sampleHandlers(() => {}),
    emitEvents: (request, context) =>
      intake.handler(request, { ...context, caller: { kind: 'host', hostUuid, roles: ['node'] } }),
  },
  rules: testRules,
  version: '1.0.0',
  log,
  listen: { socketPath: join(dir, 'auth.sock') },
});
process.stdout.write('ready\n');
