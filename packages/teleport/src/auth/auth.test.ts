import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type AuditEvent, checkEvent } from '@sallyport/contracts/events/event.ts';
import { EventStamp } from '../audit/session-emitter.ts';
import { generateEd25519 } from '../ca/openssh-private-key.ts';
import { publicKeyBlob } from '../ca/public-key.ts';
import { KeySigner } from '../ca/signature.ts';
import { verifyUserCertificate } from '../ca/verify.ts';
import { Auth } from './auth.ts';
import { FileStore } from './file-store.ts';
import { readResource, writeResource } from './resource.ts';
import { accessRole, type Role } from './role.ts';

const made: string[] = [];
after(() => Promise.all(made.map((dir) => rm(dir, { recursive: true, force: true }))));

const now = new Date('2026-03-01T12:00:00Z');
const publicKey = publicKeyBlob(generateEd25519());
const hour = 3600_000;

async function openAuth(options: { failing?: boolean } = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'sallyport-auth-'));
  made.push(dir);
  const events: AuditEvent[] = [];
  const stamp = new EventStamp({ clusterName: 'test', now: () => now.getTime(), validate: true });
  const audit = {
    stamp: stamp.stamp.bind(stamp),
    append: async (batch: readonly AuditEvent[]) => {
      if (options.failing) throw new Error('disk full');
      events.push(...batch);
    },
  };
  const ca = new KeySigner(generateEd25519());
  const auth = new Auth({
    store: await FileStore.open(dir),
    ca,
    audit,
    actor: { user: 'admin@host', kind: 3 },
    now: () => now,
  });
  return { auth, events, ca };
}

const role = (name: string, changes: Partial<Role> = {}): Role => ({ ...accessRole, name, ...changes });
const ana = { name: 'ana', roles: ['access'], logins: ['root', 'ubuntu'] };

test('a certificate says exactly what user and roles say', async () => {
  const { auth, ca } = await openAuth();
  await auth.putRole(
    role('ops', { options: { enhancedRecording: ['disk'], lossPolicy: 'throttle' } }),
    'create',
  );
  await auth.createUser({ ...ana, roles: ['access', 'ops'] });
  const { blob, validBefore, capped } = await auth.issueUserCertificate({ user: 'ana', publicKey });
  const verdict = verifyUserCertificate({
    blob,
    trustedCas: [ca.publicKey],
    login: 'ubuntu',
    now,
    remoteAddress: '::1',
  });
  assert.ok(verdict.ok);
  const { user, roles, logins, kinds, lossPolicy, recordSession } = verdict.identity;
  assert.deepEqual(
    { user, roles, logins, kinds, lossPolicy, recordSession },
    {
      user: 'ana',
      roles: ['access', 'ops'],
      logins: ['root', 'ubuntu'],
      kinds: ['disk'],
      lossPolicy: 'throttle',
      recordSession: 'strict',
    },
  );
  assert.deepEqual([validBefore.getTime() - now.getTime(), capped], [12 * hour, false]);
});

test('the life of a certificate is capped by the strictest role, and by thirty hours where none says', async () => {
  const { auth } = await openAuth();
  await auth.putRole(role('short', { options: { maxSessionTtlMs: hour } }), 'create');
  await auth.createUser({ ...ana, roles: ['access', 'short'] });
  await auth.createUser({ ...ana, name: 'ben' });
  const life = async (user: string, ttlMs?: number) => {
    const issued = await auth.issueUserCertificate({ user, publicKey, ttlMs });
    return [(issued.validBefore.getTime() - now.getTime()) / hour, issued.capped];
  };
  assert.deepEqual(await life('ana'), [1, false]);
  assert.deepEqual(await life('ana', 2 * hour), [1, true]);
  assert.deepEqual(await life('ana', hour / 2), [0.5, false]);
  assert.deepEqual(await life('ben', 1000 * hour), [30, true]);
  await assert.rejects(life('ben', 1000), { code: 'auth.ttl_too_short' });
});

test('each change is one event of the documented kind, with who did it', async () => {
  const { auth, events } = await openAuth();
  await auth.createUser(ana);
  const { value, revision } = await auth.user('ana');
  await auth.putUser({ ...value, traits: { logins: ['root'] } }, { revision });
  await auth.putRole(role('ops'), 'create');
  await auth.putRole(role('ops'), 'overwrite');
  await auth.issueUserCertificate({ user: 'ana', publicKey });
  await auth.deleteRole('ops');
  await auth.deleteUser('ana');
  assert.deepEqual(
    events.map(({ code }) => code),
    ['T1002I', 'T1003I', 'T9000I', 'T9002I', 'TC000I', 'T9001I', 'T1004I'],
  );
  for (const event of events) {
    assert.ok(checkEvent(event, 'writing').ok, event.code);
    assert.equal('user' in event && event.user, 'admin@host');
  }
});

test('a certificate that cannot be put into the audit log is not handed out', async () => {
  const { auth } = await openAuth({ failing: true });
  await assert.rejects(auth.createUser(ana), { code: 'auth.not_audited' });
  await assert.rejects(auth.issueUserCertificate({ user: 'ana', publicKey }), { code: 'auth.not_audited' });
});

test('a user without logins gets no certificate, and is told what to do', async () => {
  const { auth } = await openAuth();
  await auth.createUser({ ...ana, logins: [] });
  await assert.rejects(auth.issueUserCertificate({ user: 'ana', publicKey }), {
    code: 'auth.no_logins',
    hint: /--logins/,
  });
});

test('access is decided by the store as it is, not by the certificate as it was', async () => {
  const { auth } = await openAuth();
  const ask = (login = 'root') => auth.checkAccess('ana', login, { labels: { env: 'prod' } });
  assert.deepEqual(await ask(), { ok: false, reason: 'there is no user "ana"' });
  await auth.createUser(ana);
  assert.equal((await ask()).ok, true);
  assert.equal((await ask('www')).ok, false);
  await auth.putRole(role('access', { deny: { logins: [], nodeLabels: { env: ['prod'] } } }), 'overwrite');
  assert.deepEqual(await ask(), { ok: false, reason: 'denied by role access' });
  await auth.deleteUser('ana');
  assert.equal((await ask()).ok, false);
});

test('a role that is missing closes the door: it might be the one that denies', async () => {
  const { auth } = await openAuth();
  await auth.putRole(role('ops'), 'create');
  await assert.rejects(auth.createUser({ ...ana, roles: ['nobody'] }), { code: 'auth.no_role' });
  await auth.createUser({ ...ana, roles: ['access', 'ops'] });
  await assert.rejects(auth.deleteRole('ops'), { code: 'auth.role_in_use', message: /ana/ });
});

test('names and logins that could be mistaken for something else are refused', async () => {
  const { auth } = await openAuth();
  for (const name of ['', '-ana', 'a b', 'ana\n', '../ana', 'a'.repeat(129), 'ana\u0000']) {
    await assert.rejects(
      auth.createUser({ ...ana, name }),
      { code: 'auth.bad_resource' },
      JSON.stringify(name),
    );
  }
  for (const login of ['', '-oProxyCommand=x', 'a b', 'root,www', '{{internal.logins}}', '*']) {
    await assert.rejects(
      auth.createUser({ ...ana, logins: [login] }),
      { code: 'auth.bad_resource' },
      JSON.stringify(login),
    );
  }
});

test('a role document that is printed reads back as the same role', () => {
  const full: Role = {
    name: 'ops',
    allow: { logins: ['root', '{{internal.logins}}'], nodeLabels: { env: ['prod', 'dev'] } },
    deny: { logins: ['*'], nodeLabels: { team: ['x'] } },
    options: {
      maxSessionTtlMs: 5_400_000,
      enhancedRecording: [],
      recordSession: 'best_effort',
      lossPolicy: 'strict',
      portForwarding: true,
    },
  };
  for (const value of [full, accessRole]) {
    const read = readResource(writeResource({ kind: 'role', value }, 'r1'), 'here', now);
    assert.deepEqual(JSON.parse(JSON.stringify(read)), JSON.parse(JSON.stringify({ kind: 'role', value })));
  }
});

test('a document with a mistake says where it is', () => {
  const read = (document: unknown) => () => readResource(document, 'role.yaml, document 1', now);
  const metadata = { name: 'ops' };
  assert.throws(
    read({ kind: 'node' }),
    /document 1: kind must be one of role, user, token, lock, not "node"/,
  );
  assert.throws(read(null), /kind must be one of/);
  assert.throws(read({ kind: 'role', metadata, spec: { alow: {} } }), /spec: Unrecognized key: "alow"/);
  assert.throws(
    read({ kind: 'role', metadata, spec: { options: { enhanced_recording: ['all'] } } }),
    /spec\.options\.enhanced_recording\.0/,
  );
  assert.throws(
    read({ kind: 'role', metadata, spec: { options: { max_session_ttl: 'long' } } }),
    /max_session_ttl: must be a duration/,
  );
  assert.throws(
    read({ kind: 'role', metadata, spec: { allow: { logins: ['*'] } } }),
    /spec\.allow\.logins\.0: must be the name of a host account/,
  );
  assert.throws(read({ kind: 'user', metadata, spec: { roles: [] } }), /spec\.roles/);
});
