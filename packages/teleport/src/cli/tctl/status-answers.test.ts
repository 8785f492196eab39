import assert from 'node:assert/strict';
import { test } from 'node:test';
import { authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { createClient, type Transport } from '@sallyport/contracts/api/client.ts';
import { listPath, pingPath, readAuthorities, readServers, readStatus } from './status-answers.ts';

const status = {
  cluster_name: 'demo',
  version: '1.2.3',
  min_client_version: '1.0.0',
  ca_pins: ['sha256:00', 'sha256:01'],
  auth: { type: 'local', second_factor: 'on' },
  session_recording: 'node',
};
const authority = {
  kind: 'cert_authority',
  version: 'v2',
  metadata: { name: 'host' },
  spec: {
    type: 'host',
    cluster_name: 'demo',
    ssh: ['ssh-ed25519 AAAA', 'ssh-ed25519 BBBB'],
    tls: ['-----BEGIN CERTIFICATE-----'],
    rotation: { phase: 'update_clients' },
  },
};
const server = {
  kind: 'auth_server',
  metadata: { name: '1048a649-8f3f-4431-9529-0c53339b65a5' },
  spec: { hostname: 'auth-1', addr: '10.0.0.1:3025', version: '1.2.3' },
};
const bodies: Record<string, unknown> = {
  [pingPath]: status,
  [listPath('cert_authority')]: { resources: [authority, { ...authority, metadata: { name: 'user' } }] },
  [listPath('auth_server')]: { resources: [server] },
};
const headers = { 'x-sallyport-version': '1.2.3' };

/** Answers as told, and remembers what was asked. */
function wayTo(answers: Record<string, unknown>) {
  const asked: string[] = [];
  const transport: Transport = async ({ method, path, headers }) => {
    asked.push(`${method} ${path} ${JSON.stringify(headers)}`);
    return {
      status: 200,
      header: () => undefined,
      text: async () => JSON.stringify(answers[path]),
      lines: () => assert.fail('no stream'),
    };
  };
  return { transport, headers, asked };
}

const readings = {
  [pingPath]: readStatus,
  [listPath('cert_authority')]: readAuthorities,
  [listPath('auth_server')]: readServers,
};

test('asks what the API’s own client asks, and reads the same', async () => {
  const light = wayTo(bodies);
  const full = wayTo(bodies);
  const client = createClient(authRoutes, full.transport, headers);
  const { cluster_name, version, ca_pins } = await client.ping();
  assert.deepEqual(await readStatus(light), { cluster_name, version, ca_pins });
  const { resources: authorities } = await client.listResources({ params: { kind: 'cert_authority' } });
  assert.deepEqual(
    await readAuthorities(light),
    authorities.map((found) => {
      assert.ok(found.kind === 'cert_authority');
      const { type, ssh, rotation } = found.spec;
      return { type, ssh, rotation };
    }),
  );
  const { resources: servers } = await client.listResources({ params: { kind: 'auth_server' } });
  assert.deepEqual(
    await readServers(light),
    servers.map((found) => {
      assert.ok(found.kind === 'auth_server');
      const { hostname, addr, version } = found.spec;
      return { uuid: found.metadata.name, hostname, addr, version };
    }),
  );
  assert.deepEqual(light.asked, full.asked);
});

test('every phase of a rotation that the API knows is read', async () => {
  for (const phase of ['standby', 'init', 'update_clients', 'update_servers', 'rollback']) {
    const resources = [{ ...authority, spec: { ...authority.spec, rotation: { phase } } }];
    const answers = { [listPath('cert_authority')]: { resources } };
    assert.ok(authRoutes.listResources.result.safeParse({ resources }).success, phase);
    assert.equal((await readAuthorities(wayTo(answers)))[0]?.rotation.phase, phase);
  }
});

/** Each value of a document replaced by each of these, one at a time. */
function* broken(value: unknown): Generator<unknown> {
  yield null;
  yield 7;
  yield undefined;
  if (Array.isArray(value))
    for (const [i, part] of value.entries())
      for (const bad of broken(part)) yield value.map((each, at) => (at === i ? bad : each));
  else if (typeof value === 'object' && value !== null)
    for (const [name, part] of Object.entries(value))
      for (const bad of broken(part)) yield { ...value, [name]: bad };
}

test('whatever the API’s client would take, this takes; what it reads of a broken answer is refused', async () => {
  for (const [path, read] of Object.entries(readings)) {
    const schema = path === pingPath ? authRoutes.ping.result : authRoutes.listResources.result;
    let refused = 0;
    for (const bad of broken(bodies[path])) {
      const taken = schema.safeParse(JSON.parse(JSON.stringify(bad) ?? 'null')).success;
      const reading = read(wayTo({ [path]: bad }));
      const ok = await reading.then(
        () => true,
        (error: { code: string }) => {
          assert.equal(error.code, 'api.bad_answer');
          return false;
        },
      );
      if (taken) assert.ok(ok, `${path}: refused ${JSON.stringify(bad)}`);
      if (!ok) refused++;
    }
    assert.ok(refused > 15, `${path}: ${refused}`);
  }
});
