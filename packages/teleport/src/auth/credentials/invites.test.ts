import assert from 'node:assert/strict';
import { test } from 'node:test';
import { generate } from 'otplib';
import {
  addUser,
  admin,
  type Cluster,
  call,
  logInBody,
  openCluster,
  password,
  proxy,
  setUpUser,
} from '../auth-service.fixture.ts';
import { Authenticator } from './authenticator.fixture.ts';

const remote_addr = '198.51.100.9';
const gone = { kind: 'denied', code: 'auth.bad_link' };

function invite(
  cluster: Cluster,
  name: string,
  body: { purpose: 'invite' | 'reset'; ttl_ms?: number } = { purpose: 'invite' },
) {
  return cluster.service.handlers.createInvite(
    { params: { name }, query: undefined, body },
    cluster.as(admin),
  );
}
const read = (cluster: Cluster, token: string) =>
  cluster.service.handlers.readInvite(call({ token, remote_addr }), cluster.as(proxy));
const redeem = (
  cluster: Cluster,
  body: { token: string; password?: string; otp?: string; webauthn?: Record<string, unknown> },
) => cluster.service.handlers.redeemInvite(call({ remote_addr, ...body }), cluster.as(proxy));
const codeOf = (cluster: Cluster, secret = '') =>
  generate({ secret, epoch: Math.floor(cluster.now().getTime() / 1000) });

test('a link sets password and authenticator app once, and the log knows', async (t) => {
  const cluster = await openCluster(t);
  await addUser(cluster, 'ana');
  cluster.codes();
  const { token, url } = await invite(cluster, 'ana');
  assert.equal(url, `https://proxy.example.com:3080/web/invite/${token}`);
  const setup = await read(cluster, token);
  assert.deepEqual([setup.user, setup.purpose, setup.second_factor], ['ana', 'invite', 'on']);
  assert.match(setup.totp?.url ?? '', /^otpauth:\/\/totp\/test:ana\?/);
  assert.deepEqual((await read(cluster, token)).totp, setup.totp);
  const otp = await codeOf(cluster, setup.totp?.secret);
  assert.deepEqual(await redeem(cluster, { token, password, otp }), { user: 'ana' });
  assert.deepEqual(cluster.codes(), ['T1005I', 'T1006I']);
  assert.equal(cluster.last('T1006I')['mfa_device_type'], 'totp');
  await assert.rejects(redeem(cluster, { token, password, otp }), gone);
  await assert.rejects(read(cluster, token), gone);
});

test('the code a device was set up with is used up', async (t) => {
  const cluster = await openCluster(t);
  await addUser(cluster, 'ana');
  const { code } = await setUpUser(cluster, 'ana');
  const logIn = async () =>
    cluster.service.handlers.logIn(
      logInBody({ user: 'ana', password, otp: await code() }),
      cluster.as(proxy),
    );
  await assert.rejects(logIn(), { kind: 'denied' });
  cluster.advance(30_000);
  await logIn();
});

test('the store never holds the link itself', async (t) => {
  const cluster = await openCluster(t);
  await addUser(cluster, 'ana');
  const { token } = await invite(cluster, 'ana');
  const everything = JSON.stringify(await cluster.store.range(''));
  assert.equal(everything.includes(token), false);
  assert.equal(everything.includes(password), false);
});

test('a link ends by time, by a newer one, and with its user', async (t) => {
  const cluster = await openCluster(t);
  await addUser(cluster, 'ana');
  const first = await invite(cluster, 'ana', { purpose: 'invite', ttl_ms: 60_000 });
  cluster.advance(60_000);
  await assert.rejects(read(cluster, first.token), gone);
  const second = await invite(cluster, 'ana');
  const third = await invite(cluster, 'ana', { purpose: 'reset' });
  assert.match(third.url, /\/web\/reset\//);
  await assert.rejects(read(cluster, second.token), gone);
  await read(cluster, third.token);
  await cluster.service.handlers.deleteResource(
    { params: { kind: 'user', name: 'ana' }, query: undefined, body: undefined },
    cluster.as(admin),
  );
  await assert.rejects(read(cluster, third.token), gone);
  await assert.rejects(invite(cluster, 'nobody'), { code: 'auth.no_user' });
});

test('of two who use a link at the same moment, one sets the password', async (t) => {
  const cluster = await openCluster(t, { settings: { secondFactor: 'off' } });
  await addUser(cluster, 'ana');
  const { token } = await invite(cluster, 'ana');
  const both = await Promise.allSettled([
    redeem(cluster, { token, password: `${password}1` }),
    redeem(cluster, { token, password: `${password}2` }),
  ]);
  assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
});

test('a wrong code, a short password and a missing factor leave the link usable', async (t) => {
  const cluster = await openCluster(t);
  await addUser(cluster, 'ana');
  const { token } = await invite(cluster, 'ana');
  const { totp } = await read(cluster, token);
  const otp = await codeOf(cluster, totp?.secret);
  await assert.rejects(redeem(cluster, { token, password, otp: '000000' }), {
    code: 'auth.bad_second_factor',
  });
  await assert.rejects(redeem(cluster, { token, password: 'short', otp }), { code: 'auth.weak_password' });
  await assert.rejects(redeem(cluster, { token, password }), { code: 'auth.no_second_factor' });
  await assert.rejects(redeem(cluster, { token, otp }), { code: 'auth.no_password' });
  await redeem(cluster, { token, password, otp });
});

test('a reset replaces password and devices', async (t) => {
  const cluster = await openCluster(t);
  await addUser(cluster, 'ana');
  const old = await setUpUser(cluster, 'ana');
  const { token } = await invite(cluster, 'ana', { purpose: 'reset' });
  const { totp } = await read(cluster, token);
  cluster.codes();
  const next = `${password} anew`;
  await redeem(cluster, { token, password: next, otp: await codeOf(cluster, totp?.secret) });
  assert.deepEqual(cluster.codes(), ['T1005I', 'T1007I', 'T1006I']);
  cluster.advance(30_000);
  const logIn = (proof: { password: string; otp: string }) =>
    cluster.service.handlers.logIn(logInBody({ user: 'ana', ...proof }), cluster.as(proxy));
  await assert.rejects(logIn({ password, otp: await codeOf(cluster, totp?.secret) }), { kind: 'denied' });
  await assert.rejects(logIn({ password: next, otp: await old.code() }), { kind: 'denied' });
  await logIn({ password: next, otp: await codeOf(cluster, totp?.secret) });
});

test('guessing links is slowed', async (t) => {
  const cluster = await openCluster(t);
  for (let i = 0; i < 21; i++) await assert.rejects(read(cluster, `guess-${i}`), gone);
  await assert.rejects(read(cluster, 'guess'), { kind: 'limit' });
});

async function withKey(t: Parameters<typeof openCluster>[0], origin = 'https://proxy.example.com:3080') {
  const cluster = await openCluster(t, { settings: { secondFactor: 'webauthn' } });
  await addUser(cluster, 'ana');
  const { token } = await invite(cluster, 'ana');
  const setup = await read(cluster, token);
  assert.equal(setup.totp, undefined);
  const key = new Authenticator(origin);
  const challenge = async (user = 'ana') =>
    (await cluster.service.handlers.mfaChallenge(call({ user, remote_addr }), cluster.as(proxy))).webauthn ??
    {};
  const logIn = (webauthn: Record<string, unknown>) =>
    cluster.service.handlers.logIn(logInBody({ user: 'ana', password, webauthn }), cluster.as(proxy));
  return { cluster, token, options: setup.webauthn ?? {}, key, challenge, logIn };
}

test('a security key is registered, logs in, and cannot be replayed', async (t) => {
  const { cluster, token, options, key, challenge, logIn } = await withKey(t);
  await redeem(cluster, { token, password, webauthn: key.create(options) });
  const answer = key.get(await challenge());
  const got = await logIn(answer);
  assert.equal(got.user, 'ana');
  const told = cluster.last('T1000I')['mfa_device'] as Record<string, string>;
  assert.equal(told['mfa_device_name'], 'security key');
  await assert.rejects(logIn(answer), { code: 'auth.wrong_credentials' });
  await logIn(key.get(await challenge()));
});

test('a key used elsewhere, too late, for somebody else or by a copy is refused', async (t) => {
  const { cluster, token, options, key, challenge, logIn } = await withKey(t);
  await redeem(cluster, { token, password, webauthn: key.create(options) });
  const refused = async (answer: Record<string, unknown>, reason: RegExp) => {
    await assert.rejects(logIn(answer), { code: 'auth.wrong_credentials' });
    assert.match(String(cluster.last('T1000W')['error']), reason);
    cluster.advance(60_000);
  };
  await refused(key.get(await challenge('ben')), /challenge of the security key is foreign/);
  const late = key.get(await challenge());
  cluster.advance(5 * 60_000);
  await refused(late, /challenge of the security key is expired/);
  await refused(new Authenticator('https://proxy.example.com').get(await challenge()), /not one of the user/);
  const good = key.get(await challenge());
  const evil = Buffer.from(
    JSON.stringify({
      type: 'webauthn.get',
      challenge: (await challenge())['challenge'],
      origin: 'https://evil.example.com',
    }),
  ).toString('base64url');
  await refused(
    { ...good, response: { ...(good['response'] as object), clientDataJSON: evil } },
    /was used at/,
  );
  await logIn(key.get(await challenge()));
  // A copy of the key that is behind its original.
  key.counter = 0;
  await refused(key.get(await challenge()), /counter/i);
  await refused({}, /not one of the user/);
  await refused({ ...good, response: 7 }, /cannot be read/);
});

test('a registration made at another site is refused', async (t) => {
  const { cluster, token, options, key } = await withKey(t, 'https://evil.example');
  await assert.rejects(redeem(cluster, { token, password, webauthn: key.create(options) }), {
    code: 'auth.bad_second_factor',
  });
});

test('a cluster that wants security keys but has no domain for them does not start', async (t) => {
  await assert.rejects(openCluster(t, { settings: { secondFactor: 'webauthn', webauthnRpId: undefined } }), {
    code: 'auth.no_rp_id',
  });
});
