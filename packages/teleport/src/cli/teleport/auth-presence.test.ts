import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AuthServerDocument } from '@sallyport/contracts/api/resources.ts';
import type { NodeLog } from '../../ssh/node-log.ts';
import { warnOfLogsApart } from './auth-presence.ts';

const server = (name: string): AuthServerDocument => ({
  kind: 'auth_server',
  version: 'v2',
  metadata: { name },
  spec: { hostname: `host of ${name}`, addr: '10.0.0.1:3025', version: '1.0.0' },
});

test('each other auth server is warned of once, when events are in files of this one only', () => {
  const warned: unknown[] = [];
  const log = { warn: (fields: object) => warned.push(fields) } as unknown as NodeLog;
  const listeners = new Set<() => void>();
  const cluster = {
    authServers: [server('me')],
    onChange: (listener: () => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const stop = warnOfLogsApart(cluster, { hostUuid: 'me' }, log);
  assert.deepEqual(warned, []);
  cluster.authServers.push(server('other'));
  for (let round = 0; round < 2; round++) for (const listener of listeners) listener();
  assert.deepEqual(warned, [{ auth_server: 'host of other', addr: '10.0.0.1:3025' }]);
  stop();
  assert.equal(listeners.size, 0);
});
