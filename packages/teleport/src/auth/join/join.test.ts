import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { parseCertificate } from '../../ca/parse-certificate.ts';
import { readTlsIdentity } from '../../ca/tls-identity.ts';
import {
  admin,
  anyone,
  type Cluster,
  call,
  joinBody,
  joinHost,
  joinSignature,
  newHost,
  openCluster,
  type TestHost,
} from '../auth-service.fixture.ts';

type Body = Awaited<ReturnType<typeof joinBody>>;

const join = (cluster: Cluster, body: Body) =>
  cluster.service.handlers.join(call(body), cluster.as(anyone, { remoteAddress: '203.0.113.5' }));

/** Each refusal: its code to the host, its reason in the log. */
async function refuses(cluster: Cluster, body: Body, code: string, reason: RegExp): Promise<void> {
  cluster.codes();
  await assert.rejects(join(cluster, body), { code });
  assert.deepEqual(cluster.codes(), ['TJ002E']);
  const told = cluster.last('TJ002E');
  assert.match(String(told['error']), reason);
  assert.match(String(told['error']), /203\.0\.113\.5/);
  assert.equal(String(told['token_name']).includes(body.token), false);
}

function makeToken(
  cluster: Cluster,
  more: {
    ttl_ms?: number;
    uses?: number;
    labels?: Record<string, string>;
    roles?: ('node' | 'proxy')[];
  } = {},
) {
  return cluster.service.handlers.createToken(call({ roles: ['node'], ...more }), cluster.as(admin));
}

test('a host that has key and token gets certificates that say which host it is', async (t) => {
  const cluster = await openCluster(t);
  const { token, ca_pins } = await makeToken(cluster, { labels: { env: 'prod' } });
  assert.match(token, /^[0-9a-f]{32}$/);
  assert.match(ca_pins[0] ?? '', /^sha256:[0-9a-f]{64}$/);
  const created = cluster.last('TJT00I');
  assert.deepEqual([created['user'], created['roles']], ['root@auth', ['node']]);
  assert.equal(String(created['name']).includes(token), false);
  const host = newHost('db-1');
  const got = await joinHost(cluster, host, token);
  const ssh = parseCertificate(Buffer.from(got.ssh_certificate, 'base64'));
  assert.deepEqual([ssh.type, ssh.keyId], ['host', host.local.hostUuid]);
  for (const name of ['db-1', 'db-1.test', '10.0.0.7']) assert.ok(ssh.principals.includes(name), name);
  assert.ok(ssh.publicKey.equals(host.local.sshPublicKey));
  const tls = readTlsIdentity(got.tls_certificate);
  assert.ok(tls?.kind === 'host');
  assert.deepEqual([tls.hostUuid, tls.roles], [host.local.hostUuid, ['node']]);
  assert.deepEqual(got.labels, { env: 'prod' });
  assert.equal(got.trust.cluster_name, 'test');
  const joined = cluster.last('TJ002I');
  assert.deepEqual(
    [joined['host_id'], joined['node_name'], joined['method']],
    [host.local.hostUuid, 'db-1', 'token'],
  );
});

test('tokens that ended, are used up, unknown or for another role admit nobody, each with its reason', async (t) => {
  const cluster = await openCluster(t);
  const { token } = await makeToken(cluster, { ttl_ms: 60_000 });
  const once = await makeToken(cluster, { uses: 1 });
  const proxies = await makeToken(cluster, { roles: ['proxy'] });
  await joinHost(cluster, newHost(), once.token);
  await refuses(cluster, await joinBody(cluster, newHost(), once.token), 'join.used_token', /used as often/);
  await refuses(
    cluster,
    await joinBody(cluster, newHost(), 'a-guess-of-mine'),
    'join.unknown_token',
    /not known/,
  );
  await refuses(cluster, await joinBody(cluster, newHost(), proxies.token), 'join.wrong_role', /role node/);
  cluster.advance(60_000);
  await refuses(cluster, await joinBody(cluster, newHost(), token), 'join.expired_token', /ended at/);
});

test('of many who use a token for one at the same moment, one joins', async (t) => {
  const cluster = await openCluster(t);
  const { token } = await makeToken(cluster, { uses: 1 });
  const bodies = await Promise.all(Array.from({ length: 5 }, () => joinBody(cluster, newHost(), token)));
  const all = await Promise.allSettled(bodies.map((body) => join(cluster, body)));
  assert.equal(all.filter(({ status }) => status === 'fulfilled').length, 1);
});

test('a challenge is good once, for a minute, and only if it is ours', async (t) => {
  const cluster = await openCluster(t);
  const host = newHost();
  const body = await joinBody(cluster, host, 'static-secret');
  await join(cluster, body);
  await refuses(cluster, body, 'join.replayed', /answered before/);
  const old = await joinBody(cluster, host, 'static-secret');
  cluster.advance(60_000);
  await refuses(cluster, old, 'join.expired_nonce', /older than a minute/);
  const nonce = Buffer.alloc(40, 7);
  const signature = (await host.signer.sign(nonce)).toString('base64');
  const forged = { ...old, nonce: nonce.toString('base64'), signature };
  await refuses(cluster, forged, 'join.foreign_nonce', /none of this cluster/);
});

test('without the private key the host key is only a claim', async (t) => {
  const cluster = await openCluster(t);
  const victim = newHost();
  const thief: TestHost = { ...victim, signer: newHost().signer };
  await refuses(cluster, await joinBody(cluster, thief, 'static-secret'), 'join.no_possession', /host key/);
});

test('a host that was not heard of for four lives of a certificate is forgotten; one that renews is not', async (t) => {
  const cluster = await openCluster(t);
  const [gone, here] = [newHost(), newHost('here')];
  await joinHost(cluster, gone);
  await joinHost(cluster, here);
  const lifeMs = 14 * 24 * 3600_000;
  const body = {
    ssh_public_key: here.local.sshPublicKey.toString('base64'),
    tls_public_key: here.local.tlsPublicKey,
    principals: here.local.principals,
    version: '1.2.3',
  };
  cluster.advance(2 * lifeMs);
  await cluster.service.handlers.renewHost(call(body), cluster.as(here.caller));
  const posing = newHost();
  posing.local.hostUuid = gone.local.hostUuid;
  await refuses(cluster, await joinBody(cluster, posing, 'static-secret'), 'join.host_taken', /another key/);
  cluster.advance(2 * lifeMs);
  await joinHost(cluster, posing);
  assert.deepEqual(await cluster.service.admits(here.caller), { ok: true });
  assert.equal((await cluster.store.range(`host/${here.local.hostUuid}`)).length, 1);
});

test('the signature covers the whole request; who signs the challenge only is told to be upgraded', async (t) => {
  const cluster = await openCluster(t);
  const body = await joinBody(cluster, newHost(), 'static-secret');
  const changes = {
    nodename: 'other',
    roles: ['proxy' as const],
    tls_public_key: newHost().local.tlsPublicKey,
  };
  for (const [name, value] of Object.entries({ ...changes, principals: ['x'], token: 'another-token' })) {
    await refuses(cluster, { ...body, [name]: value }, 'join.no_possession', /host key/);
  }
  const old = { ...body, signature_version: 1 };
  await assert.rejects(join(cluster, old), { code: 'join.old_signature', hint: /upgrade it/ });
  assert.equal(cluster.codes().at(-1), 'TJ002E');
  await join(cluster, body);
});

test('keys that are none are the caller’s mistake, not ours', async (t) => {
  const cluster = await openCluster(t);
  for (const bad of ['', 'x', '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n']) {
    const host = newHost();
    const body = await joinBody(cluster, host, 'static-secret');
    const changed = { ...body, tls_public_key: bad };
    const signed = { ...changed, signature: await joinSignature(host, changed) };
    await assert.rejects(join(cluster, signed), { kind: 'bad_input' });
    assert.equal(cluster.codes().at(-1), 'TJ002E');
    await assert.rejects(join(cluster, { ...body, ssh_public_key: bad }), { code: 'join.no_possession' });
  }
});

test('a host that poses as another, by uuid or by name, is refused', async (t) => {
  const cluster = await openCluster(t);
  const host = newHost();
  await joinHost(cluster, host);
  await joinHost(cluster, host);
  const posing = newHost();
  posing.local.hostUuid = host.local.hostUuid;
  await refuses(cluster, await joinBody(cluster, posing, 'static-secret'), 'join.host_taken', /another key/);
  for (const name of [host.local.hostUuid, `${randomUUID()}.test`, 'test', 'proxy.test']) {
    const other = newHost();
    other.local.principals = [name];
    await refuses(
      cluster,
      await joinBody(cluster, other, 'static-secret'),
      'join.foreign_name',
      /another host/,
    );
  }
  await cluster.service.handlers.deleteResource(
    { params: { kind: 'node', name: host.local.hostUuid }, query: undefined, body: undefined },
    cluster.as(admin),
  );
  await join(cluster, await joinBody(cluster, posing, 'static-secret'));
});

test('a node cannot take the address of a proxy, another proxy can share it', async (t) => {
  const cluster = await openCluster(t);
  const proxy = newHost('gate', ['proxy']);
  await joinHost(cluster, proxy);
  const spec = {
    hostname: 'gate',
    web_addr: 'example.com:443',
    ssh_addr: 'example.com:3023',
    tunnel_addr: '[2001:db8::7]:3024',
    version: '1.2.3',
  };
  await cluster.service.handlers.heartbeat(
    {
      params: { kind: 'proxy' },
      query: undefined,
      body: { kind: 'proxy', metadata: { name: proxy.local.hostUuid }, spec },
    },
    cluster.as(proxy.caller),
  );
  for (const name of ['Example.com', '2001:db8::7', 'gate']) {
    const node = newHost();
    node.local.principals = [name];
    await refuses(
      cluster,
      await joinBody(cluster, node, 'static-secret'),
      'join.foreign_name',
      /another host/,
    );
  }
  const second = newHost('gate', ['proxy']);
  second.local.principals = ['example.com'];
  await joinHost(cluster, second);
});

test('a cluster may bear the name of its auth host, and of no other', async (t) => {
  const cluster = await openCluster(t);
  await cluster.service.enrolLocalHost(newHost('test', ['auth', 'node']).local);
  await assert.rejects(joinHost(cluster, newHost('test')), { code: 'join.foreign_name' });
});

test('the name that means any proxy is on the certificates of proxies only', async (t) => {
  const cluster = await openCluster(t);
  const principalsOf = async (host: TestHost) => {
    const { ssh_certificate } = await joinHost(cluster, host);
    return parseCertificate(Buffer.from(ssh_certificate, 'base64')).principals;
  };
  assert.ok((await principalsOf(newHost('gate', ['proxy']))).includes('proxy.test'));
  assert.equal((await principalsOf(newHost('proxy'))).includes('proxy.test'), false);
});

test('a locked host neither joins nor renews, a removed one does not renew', async (t) => {
  const cluster = await openCluster(t);
  const host = newHost('db-9');
  await joinHost(cluster, host);
  const renew = () =>
    cluster.service.handlers.renewHost(
      call({
        ssh_public_key: host.local.sshPublicKey.toString('base64'),
        tls_public_key: host.local.tlsPublicKey,
        principals: [],
        version: '1.2.3',
      }),
      cluster.as(host.caller),
    );
  assert.ok((await renew()).ssh_certificate.length > 0);
  const lock = { kind: 'lock' as const, metadata: { name: 'l' }, spec: { target: { node: 'db-9' } } };
  await cluster.service.handlers.putResource(
    { params: { kind: 'lock', name: 'l' }, query: {}, body: lock },
    cluster.as(admin),
  );
  await assert.rejects(renew(), { kind: 'denied', message: /db-9" is locked/ });
  await refuses(cluster, await joinBody(cluster, host, 'static-secret'), 'join.locked', /is locked/);
  const gone = (kind: 'lock' | 'node', name: string) =>
    cluster.service.handlers.deleteResource(
      { params: { kind, name }, query: undefined, body: undefined },
      cluster.as(admin),
    );
  await gone('lock', 'l');
  await gone('node', host.local.hostUuid);
  await assert.rejects(renew(), { kind: 'denied', message: /removed/ });
});

test('a renewal with a new key makes it the key of the host', async (t) => {
  const cluster = await openCluster(t);
  const host = newHost();
  await joinHost(cluster, host);
  const next = newHost();
  const got = await cluster.service.handlers.renewHost(
    call({
      ssh_public_key: next.local.sshPublicKey.toString('base64'),
      tls_public_key: next.local.tlsPublicKey,
      principals: ['10.0.0.8'],
      version: '1.2.3',
    }),
    cluster.as(host.caller),
  );
  const ssh = parseCertificate(Buffer.from(got.ssh_certificate, 'base64'));
  assert.deepEqual([ssh.keyId, ssh.publicKey.equals(next.local.sshPublicKey)], [host.local.hostUuid, true]);
  await assert.rejects(joinHost(cluster, host), { code: 'join.host_taken' });
});

test('tokens are listed without their secret, found by their beginning, and gone when removed', async (t) => {
  const cluster = await openCluster(t);
  const { token } = await makeToken(cluster);
  const { handlers } = cluster.service;
  const list = async (secrets: boolean) =>
    (
      await handlers.listResources(
        { params: { kind: 'token' }, query: { secrets }, body: undefined },
        cluster.as(admin),
      )
    ).resources.map(({ metadata }) => metadata.name);
  assert.deepEqual(await list(true), ['static-secret', token]);
  assert.deepEqual(await list(false), ['stat*********', `${token.slice(0, 4)}${'*'.repeat(28)}`]);
  const remove = (name: string) =>
    handlers.deleteResource(
      { params: { kind: 'token', name }, query: undefined, body: undefined },
      cluster.as(admin),
    );
  await assert.rejects(remove('static-secret'), { code: 'auth.static_token' });
  assert.deepEqual(await remove(`${token.slice(0, 7)}…`), { deleted: token });
  assert.deepEqual(await list(true), ['static-secret']);
  await assert.rejects(remove(token), { code: 'auth.no_token' });
  await assert.rejects(joinHost(cluster, newHost(), token), { code: 'join.unknown_token' });
});
