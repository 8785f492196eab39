// Certificates for one session, from the auth service that makes them to the node that takes them once.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { LockDocument } from '@sallyport/contracts/api/resources.ts';
import {
  addUser,
  admin,
  type Cluster,
  joinHost,
  logInBody,
  newHost,
  openCluster,
  password,
  person,
  proxy,
  setUpUser,
} from '../../auth/auth-service.fixture.ts';
import { generateEd25519 } from '../../ca/openssh-private-key.ts';
import { publicKeyBlob } from '../../ca/public-key.ts';
import { Admission } from './admission.ts';

const ssh_public_key = publicKeyBlob(generateEd25519()).toString('base64');
const step = 30_000;

/** A user whose role asks for the second factor, two nodes, and their admissions. */
async function open(t: TestContext, settings: Parameters<typeof openCluster>[1] = {}) {
  const cluster = await openCluster(t, settings);
  const { handlers } = cluster.service;
  const body = {
    kind: 'role' as const,
    metadata: { name: 'careful' },
    spec: {
      allow: { logins: ['root', 'ubuntu'], node_labels: { '*': '*' } },
      options: { require_session_mfa: true },
    },
  };
  await handlers.putResource(
    { params: { kind: 'role', name: 'careful' }, query: {}, body },
    cluster.as(admin),
  );
  await addUser(cluster, 'ana', ['careful']);
  const ana = await setUpUser(cluster, 'ana');
  const nodes = [];
  for (const name of ['web-1', 'web-2']) {
    const host = newHost(name);
    await joinHost(cluster, host);
    const spec = { hostname: name, tunnel: true, labels: {}, version: '1.2.3' };
    const document = { kind: 'node' as const, metadata: { name: host.local.hostUuid }, spec };
    const request = { params: { kind: 'node' as const }, query: undefined, body: document };
    await handlers.heartbeat(request, cluster.as(host.caller));
    nodes.push({ uuid: host.local.hostUuid, name });
  }
  cluster.advance(step);
  cluster.codes();
  const [web1, web2] = nodes;
  assert.ok(web1 && web2);
  return { cluster, ana, web1, web2 };
}

async function admissionOf(
  cluster: Cluster,
  node: { uuid: string; name: string },
  locks: LockDocument[] = [],
) {
  const { resources } = await cluster.service.handlers.listResources(
    { params: { kind: 'role' }, query: {}, body: undefined },
    cluster.as(admin),
  );
  const roles = resources.flatMap((each) => (each.kind === 'role' ? [each] : []));
  const trust = cluster.authorities.trust();
  const settings = undefined;
  return new Admission({
    cluster: { trust, roles, locks, settings, synced: true },
    node: () => ({ labels: {}, hostUuid: node.uuid, hostname: node.name }),
    now: () => cluster.now(),
  });
}

function admit(admission: Admission, certificate: string, login = 'root') {
  const end = { host: '192.0.2.1', port: 22 };
  const blob = Buffer.from(certificate, 'base64');
  return admission.admit({ blob, login, remote: end, local: end } as Parameters<Admission['admit']>[0]);
}

const ana = { kind: 'user', user: 'ana', roles: [], traits: {} } as const;

const ask = (cluster: Cluster, session: { node: string; login: string; otp?: string }) =>
  cluster.service.handlers.sessionCertificate(
    { params: undefined, query: undefined, body: { ...session, ssh_public_key } },
    cluster.as({ ...ana, validBefore: new Date(cluster.now().getTime() + 3_600_000) }),
  );

test('the question names what can answer it; the answer opens one session, once, on that node, as that login', async (t) => {
  const { cluster, ana, web1, web2 } = await open(t);
  const session = { node: 'web-1', login: 'root' };
  assert.deepEqual(await ask(cluster, session), { state: 'needed', otp: true, webauthn: false });
  const answer = await ask(cluster, { ...session, otp: await ana.code() });
  assert.ok(answer.state === 'issued');
  assert.deepEqual(cluster.codes(), ['T1016I', 'TC000I']);
  assert.equal(cluster.last('T1016I')['subject'], 'root@web-1');
  const admission = await admissionOf(cluster, web1);
  const elsewhere = await admit(await admissionOf(cluster, web2), answer.ssh_certificate);
  assert.match(elsewhere.ok ? '' : elsewhere.reason, /one session of another node/);
  const otherLogin = await admit(admission, answer.ssh_certificate, 'ubuntu');
  assert.equal(otherLogin.ok, false);
  const first = await admit(admission, answer.ssh_certificate);
  assert.ok(first.ok, first.ok ? '' : first.reason);
  const { mfa_device } = cluster.last('T1016I') as { mfa_device?: { mfa_device_uuid?: string } };
  assert.equal(first.value.mfaDevice, mfa_device?.mfa_device_uuid);
  const left = Number(first.value.identity.validBefore) - cluster.now().getTime();
  assert.equal(left, 3_600_000, 'the session may last as long as the certificate of the log-in');
  const again = await admit(admission, answer.ssh_certificate);
  assert.match(again.ok ? '' : again.reason, /was used before/);
  cluster.advance(2_000);
  const restarted = await admit(await admissionOf(cluster, web1), answer.ssh_certificate);
  assert.match(restarted.ok ? '' : restarted.reason, /made before this node started/);
  cluster.advance(61_000);
  const late = await admit(await admissionOf(cluster, web1), answer.ssh_certificate);
  assert.match(late.ok ? '' : late.reason, /expired/);
});

test('a certificate of a log-in alone is refused, and says why', async (t) => {
  const { cluster, ana, web1 } = await open(t);
  const { certificates } = await logIn(cluster, await ana.code());
  const refused = await admit(await admissionOf(cluster, web1), certificates);
  assert.match(refused.ok ? '' : refused.reason, /role careful asks for the second factor at each session/);
});

test('a wrong code, one used before, and too many of them are refused', async (t) => {
  const { cluster, ana } = await open(t);
  const session = { node: 'web-1', login: 'root' };
  await assert.rejects(ask(cluster, { ...session, otp: '000000' }), {
    kind: 'denied',
    code: 'auth.wrong_factor',
  });
  assert.match(String(cluster.last('T1016W')['error']), /wrong or was used before/);
  const otp = await ana.code();
  const both = await Promise.allSettled([
    ask(cluster, { ...session, otp }),
    ask(cluster, { ...session, otp }),
  ]);
  assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
  for (let i = 0; i < 4; i++) await assert.rejects(ask(cluster, { ...session, otp: '000000' }));
  await assert.rejects(ask(cluster, { ...session, otp: '000000' }), { kind: 'limit' });
});

test('no factor helps where roles allow no such session; none is asked for where none is needed', async (t) => {
  const { cluster } = await open(t);
  await assert.rejects(ask(cluster, { node: 'web-1', login: 'nobody' }), {
    code: 'auth.session_denied',
    message: /no role allows login "nobody"/,
  });
  await assert.rejects(ask(cluster, { node: 'not-there', login: 'root' }), { kind: 'not_found' });
  await addUser(cluster, 'bea');
  const answer = await cluster.service.handlers.sessionCertificate(
    { params: undefined, query: undefined, body: { node: 'web-1', login: 'root', ssh_public_key } },
    cluster.as(person('bea')),
  );
  assert.deepEqual(answer, { state: 'not_needed' });
});

test('a lock on a device ends what it opened: sessions and certificates, of log-ins too', async (t) => {
  const { cluster, ana, web1 } = await open(t);
  const answer = await ask(cluster, { node: 'web-1', login: 'root', otp: await ana.code() });
  assert.ok(answer.state === 'issued');
  const { mfa_device } = cluster.last('T1016I') as { mfa_device?: { mfa_device_uuid?: string } };
  const device = mfa_device?.mfa_device_uuid ?? '';
  const free = await admissionOf(cluster, web1);
  const admitted = await admit(free, answer.ssh_certificate);
  assert.ok(admitted.ok);
  const lock: LockDocument = {
    kind: 'lock',
    metadata: { name: 'l' },
    spec: { target: { mfa_device: device } },
  };
  const held = await admissionOf(cluster, web1, [lock]);
  const { identity } = admitted.value;
  const live = { user: identity.user, roles: identity.roles, login: 'root', identity };
  assert.equal(free.lockedOut(live), undefined);
  assert.match(held.lockedOut(live) ?? '', /mfa_device .* is locked/);
  const later = await admit(held, answer.ssh_certificate);
  assert.match(later.ok ? '' : later.reason, /mfa_device .* is locked/);
});

async function logIn(cluster: Cluster, otp: string): Promise<{ certificates: string }> {
  const body = logInBody({ user: 'ana', password, otp });
  const issued = await cluster.service.handlers.logIn(body, cluster.as(proxy));
  return { certificates: issued.ssh_certificate };
}
