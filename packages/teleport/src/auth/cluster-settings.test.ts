import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resourceDocument } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { addUser, admin, joinHost, newHost, openCluster, person } from './auth-service.fixture.ts';

const settings = {
  clientIdleTimeoutMs: 5_400_000,
  disconnectExpiredCert: true,
  sessionRecording: 'off',
} as const;
const name = 'cluster_settings';
const params = { kind: 'cluster_settings', name } as const;
const reading = { params, query: {}, body: undefined };

test('the settings are those of the configuration, and a document like any other', async (t) => {
  const { service, as } = await openCluster(t, { settings });
  const document = await service.handlers.getResource(reading, as(admin));
  assert.deepEqual(document, {
    kind: 'cluster_settings',
    version: 'v2',
    metadata: { name },
    spec: {
      cluster_name: 'test',
      client_idle_timeout: '1h30m',
      disconnect_expired_cert: true,
      session_recording: 'off',
    },
  });
  assert.deepEqual(resourceDocument.parse(document), document);
  const list = { params: { kind: 'cluster_settings' }, query: {}, body: undefined } as const;
  assert.deepEqual((await service.handlers.listResources(list, as(admin))).resources, [document]);
});

test('nobody writes or deletes them, and is told where they come from', async (t) => {
  const { service, as } = await openCluster(t, { settings });
  const body = await service.handlers.getResource(reading, as(admin));
  const told = (error: unknown) => {
    assert.ok(error instanceof AppError);
    assert.equal(error.code, 'auth.not_writable');
    assert.match(error.hint ?? '', /teleport\.yaml of the auth host/);
    return true;
  };
  await assert.rejects(service.handlers.putResource({ params, query: {}, body }, as(admin)), told);
  await assert.rejects(
    service.handlers.deleteResource({ params, query: undefined, body: undefined }, as(admin)),
    told,
  );
});

test('a node reads and watches them; a person needs a role that allows it', async (t) => {
  const cluster = await openCluster(t, { settings });
  const { service, as } = cluster;
  const node = newHost('web-1');
  await joinHost(cluster, node);
  await addUser(cluster, 'ana');
  const lines = service.handlers.watch(
    { params: undefined, query: { kinds: 'cluster_settings' }, body: undefined },
    as(node.caller),
  );
  const told = [];
  for await (const line of lines) {
    told.push(line);
    if (line.type === 'synced') break;
  }
  const resource = await service.handlers.getResource(reading, as(node.caller));
  assert.deepEqual(told, [{ type: 'put', resource }, { type: 'synced' }]);
  await assert.rejects(service.handlers.getResource(reading, as(person('ana'))), {
    code: 'auth.not_allowed',
  });
});

test('sessions that may idle for ever have no timeout', async (t) => {
  const { service, as } = await openCluster(t);
  const document = await service.handlers.getResource(reading, as(admin));
  assert.equal(document.kind === 'cluster_settings' && 'client_idle_timeout' in document.spec, false);
});
