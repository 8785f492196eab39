// A session for tests that need no real one.
import type { SessionFacts } from './session-facts.ts';

export const facts: SessionFacts = {
  sid: '11111111-2222-4333-8444-555555555555',
  user: 'alice',
  login: 'root',
  roles: ['access'],
  traits: { logins: ['root'] },
  node: {
    serverId: 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee',
    hostname: 'node-1',
    address: '127.0.0.1:3022',
    labels: { env: 'test' },
    version: '0.1.0',
  },
  localAddr: '127.0.0.1:3022',
  remoteAddr: '127.0.0.1:40000',
  started: '2026-11-21T00:00:00.000Z',
  recordingMode: 'node',
  enhanced: true,
  kinds: ['command', 'disk', 'network'],
  lossPolicy: 'best_effort',
  recordSession: 'strict',
};
