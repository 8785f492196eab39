import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { generate } from 'otplib';
import {
  addUser,
  admin,
  type Cluster,
  call,
  logInBody,
  openCluster,
  password,
  person,
  proxy,
  setUpUser,
} from '../auth-service.fixture.ts';
import { putDocument } from '../documents.ts';
import { Authenticator } from './authenticator.fixture.ts';

const step = 30_000;
const as = (cluster: Cluster, user: string) => cluster.as(person(user));
const codeOf = (cluster: Cluster, secret: string) =>
  generate({ secret, epoch: Math.floor(cluster.now().getTime() / 1000) });
const devicesOf = async (cluster: Cluster, user: string) =>
  (await cluster.service.handlers.listMfaDevices(call(undefined), as(cluster, user))).devices.map(
    ({ name }) => name,
  );

async function withAna(t: TestContext) {
  const cluster = await openCluster(t);
  await addUser(cluster, 'ana');
  const ana = await setUpUser(cluster, 'ana');
  cluster.advance(step);
  cluster.codes();
  return { cluster, ana };
}

/** As a log-in by an identity provider leaves them. */
async function putSsoUser(cluster: Cluster, name: string, subject: string): Promise<void> {
  const time = cluster.now().toISOString();
  const created_by = { connector_kind: 'oidc' as const, connector_name: 'corp', subject, time };
  const spec = { roles: ['access'], traits: { logins: ['root'] }, created_by };
  await cluster.store.commit([putDocument({ kind: 'user', metadata: { name }, spec })]);
}

test('an authenticator app is added when an older one was proven and the new one works', async (t) => {
  const { cluster, ana } = await withAna(t);
  const { handlers } = cluster.service;
  const begin = (otp?: string) =>
    handlers.beginTotpDevice(
      call({ name: 'tablet', ...(otp === undefined ? {} : { otp }) }),
      as(cluster, 'ana'),
    );
  await assert.rejects(begin(), { code: 'auth.proof_needed' });
  await assert.rejects(begin('000000'), { code: 'auth.wrong_factor' });
  const { id, secret } = await begin(await ana.code());
  const finish = (otp: string) =>
    handlers.finishTotpDevice({ params: { id }, query: undefined, body: { otp } }, as(cluster, 'ana'));
  await assert.rejects(finish('000000'), { code: 'auth.bad_second_factor' });
  assert.deepEqual(await devicesOf(cluster, 'ana'), ['authenticator app']);
  await finish(await codeOf(cluster, secret));
  assert.deepEqual(await devicesOf(cluster, 'ana'), ['authenticator app', 'tablet']);
  assert.deepEqual(cluster.codes(), ['T1016W', 'T1016I', 'T1006I']);
  await assert.rejects(finish(await codeOf(cluster, secret)), { code: 'auth.no_device' });
});

test('a device is removed by proof; the last one of somebody with a password stays', async (t) => {
  const { cluster, ana } = await withAna(t);
  const { handlers } = cluster.service;
  const remove = (name: string, otp: string) =>
    handlers.removeMfaDevice(call({ name, otp }), as(cluster, 'ana'));
  const { id, secret } = await handlers.beginTotpDevice(
    call({ name: 'tablet', otp: await ana.code() }),
    as(cluster, 'ana'),
  );
  const body = { otp: await codeOf(cluster, secret) };
  await handlers.finishTotpDevice({ params: { id }, query: undefined, body }, as(cluster, 'ana'));
  cluster.advance(step);
  await assert.rejects(remove('nothing', await ana.code()), { code: 'auth.no_device' });
  await remove('authenticator app', await ana.code());
  cluster.advance(step);
  await assert.rejects(remove('tablet', await codeOf(cluster, secret)), { code: 'auth.last_device' });
  await assert.rejects(remove('tablet', await ana.code()), { kind: 'conflict' });
});

test('a security key is added by the key there is, and its page serves nobody else', async (t) => {
  const { cluster, ana } = await withAna(t);
  const { handlers } = cluster.service;
  const origin = 'https://proxy.example.com:3080';
  const task = { type: 'add_device' as const, name: 'key', passwordless: false };
  await assert.rejects(handlers.beginMfaTask(call(task), as(cluster, 'ana')), { code: 'auth.proof_needed' });
  const { id } = await handlers.beginMfaTask(call({ ...task, otp: await ana.code() }), as(cluster, 'ana'));
  const params = { id };
  const read = await handlers.readMfaTask({ params, query: undefined, body: undefined }, cluster.as(proxy));
  assert.equal(read.get, undefined, 'a code was proven at the beginning');
  const key = new Authenticator(origin);
  const complete = (at: string, body: object) =>
    handlers.completeMfaTask(
      { params: { id: at }, query: undefined, body: { ...body, remote_addr: '192.0.2.1' } },
      cluster.as(proxy),
    );
  await complete(id, { create: key.create(read.create ?? {}) });
  await addUser(cluster, 'eve');
  const result = (user: string) =>
    handlers.mfaTaskResult({ params, query: undefined, body: undefined }, as(cluster, user));
  await assert.rejects(result('eve'), { code: 'auth.no_task' });
  assert.equal((await result('ana')).state, 'changed');
  await assert.rejects(result('ana'), { code: 'auth.no_task' });

  const next = await handlers.beginMfaTask(call({ ...task, name: 'second' }), as(cluster, 'ana'));
  const shown = await handlers.readMfaTask(
    { params: { id: next.id }, query: undefined, body: undefined },
    cluster.as(proxy),
  );
  const second = new Authenticator(origin);
  const create = second.create(shown.create ?? {});
  await assert.rejects(complete(next.id, { create }), { code: 'auth.wrong_factor' });
  await assert.rejects(complete(next.id, { create, get: second.get(shown.get ?? {}) }), {
    code: 'auth.wrong_factor',
  });
  await complete(next.id, { create, get: key.get(shown.get ?? {}) });
  assert.deepEqual(await devicesOf(cluster, 'ana'), ['authenticator app', 'key', 'second']);

  // An app is added by a key alike: its secret goes to tsh, not to the page.
  const app = await handlers.beginMfaTask(call({ type: 'add_app', name: 'phone' }), as(cluster, 'ana'));
  const at = { params: { id: app.id }, query: undefined, body: undefined };
  const asked = await handlers.readMfaTask(at, cluster.as(proxy));
  await complete(app.id, { get: key.get(asked.get ?? {}) });
  const begun = await handlers.mfaTaskResult(at, as(cluster, 'ana'));
  assert.ok(begun.state === 'begun');
  const body = { otp: await codeOf(cluster, begun.secret) };
  await handlers.finishTotpDevice({ params: { id: begun.id }, query: undefined, body }, as(cluster, 'ana'));
  assert.equal((await devicesOf(cluster, 'ana')).at(-1), 'phone');
});

test('a challenge of a log-in answers no task', async (t) => {
  const { cluster, ana } = await withAna(t);
  const { handlers } = cluster.service;
  const key = new Authenticator('https://proxy.example.com:3080');
  const add = { type: 'add_device' as const, name: 'key', passwordless: false, otp: await ana.code() };
  const { id } = await handlers.beginMfaTask(call(add), as(cluster, 'ana'));
  const at = (task: string) => ({ params: { id: task }, query: undefined });
  const shown = await handlers.readMfaTask({ ...at(id), body: undefined }, cluster.as(proxy));
  const remote_addr = '192.0.2.1';
  const create = key.create(shown.create ?? {});
  await handlers.completeMfaTask({ ...at(id), body: { create, remote_addr } }, cluster.as(proxy));
  const { webauthn = {} } = await handlers.mfaChallenge(
    call({ user: 'ana', remote_addr }),
    cluster.as(proxy),
  );
  const removal = await handlers.beginMfaTask(
    call({ type: 'remove_device', name: 'key' }),
    as(cluster, 'ana'),
  );
  const get = key.get(webauthn);
  await assert.rejects(
    handlers.completeMfaTask({ ...at(removal.id), body: { get, remote_addr } }, cluster.as(proxy)),
    { code: 'auth.wrong_factor', message: /challenge of the security key is foreign/ },
  );
});

test('somebody by an identity provider has second factors of their own, and none of another person of the name', async (t) => {
  const cluster = await openCluster(t);
  const { handlers } = cluster.service;
  await putSsoUser(cluster, 'ana', 'subject-1');
  const { id, secret } = await handlers.beginTotpDevice(call({ name: 'phone' }), as(cluster, 'ana'));
  const body = { otp: await codeOf(cluster, secret) };
  await handlers.finishTotpDevice({ params: { id }, query: undefined, body }, as(cluster, 'ana'));
  cluster.advance(step);
  const begin = async () =>
    handlers.beginTotpDevice(call({ name: 'new', otp: await codeOf(cluster, secret) }), as(cluster, 'ana'));
  await begin();
  cluster.advance(step);
  await putSsoUser(cluster, 'ana', 'subject-2');
  const others = { name: 'phone', otp: await codeOf(cluster, secret) };
  await assert.rejects(handlers.removeMfaDevice(call(others), as(cluster, 'ana')), {
    code: 'auth.no_device',
  });
  await assert.rejects(
    handlers.createInvite(
      { params: { name: 'ana' }, query: undefined, body: { purpose: 'reset' } },
      cluster.as(admin),
    ),
    { code: 'auth.sso_user' },
  );
  const document = { kind: 'user' as const, metadata: { name: 'ana' }, spec: { roles: ['editor'] } };
  await assert.rejects(
    handlers.putResource(
      { params: { kind: 'user', name: 'ana' }, query: {}, body: document },
      cluster.as(admin),
    ),
    { code: 'auth.sso_user' },
  );
});

test('where passwords are off, nobody logs in by one', async (t) => {
  const cluster = await openCluster(t, { settings: { localAuth: false } });
  await addUser(cluster, 'ana');
  const ana = await setUpUser(cluster, 'ana');
  cluster.advance(step);
  const body = logInBody({ user: 'ana', password, otp: await ana.code() });
  await assert.rejects(cluster.service.handlers.logIn(body, cluster.as(proxy)), { code: 'auth.no_local' });
  assert.match(String(cluster.last('T1000W')['error']), /password is off/);
  const status = await cluster.service.handlers.ping(call(undefined), cluster.as(proxy));
  assert.equal(status.auth.local, false);
});
