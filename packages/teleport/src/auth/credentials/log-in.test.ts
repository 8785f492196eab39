import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCertificate } from '../../ca/parse-certificate.ts';
import { readTlsIdentity } from '../../ca/tls-identity.ts';
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

const step = 30_000;
const wrong = { kind: 'denied', code: 'auth.wrong_credentials' };

async function withAna(t: Parameters<typeof openCluster>[0], settings = {}) {
  const cluster = await openCluster(t, { settings });
  await addUser(cluster, 'ana', ['access'], ['root', 'ubuntu']);
  const ana = await setUpUser(cluster, 'ana');
  cluster.advance(step);
  cluster.codes();
  const logIn = (proof: { user?: string; password?: string; otp?: string }) =>
    cluster.service.handlers.logIn(logInBody({ user: 'ana', ...proof }), cluster.as(proxy));
  return { cluster, ana, logIn };
}

test('password and code give certificates that say who, as what, and where to', async (t) => {
  const { cluster, ana, logIn } = await withAna(t);
  const got = await logIn({ password, otp: await ana.code() });
  assert.deepEqual([got.user, got.logins, got.roles], ['ana', ['root', 'ubuntu'], ['access']]);
  const ssh = parseCertificate(Buffer.from(got.ssh_certificate, 'base64'));
  assert.deepEqual([ssh.keyId, ssh.principals], ['ana', ['root', 'ubuntu', '-teleport-internal-join']]);
  assert.match(ssh.extensions.get('mfa-device@sallyport')?.toString() ?? '', /[0-9a-f-]{36}$/);
  const tls = readTlsIdentity(got.tls_certificate);
  assert.ok(tls?.kind === 'user');
  assert.deepEqual(
    [tls.user, tls.roles, tls.logins, tls.cluster],
    ['ana', ['access'], ['root', 'ubuntu'], 'test'],
  );
  const hours = (Date.parse(got.valid_before) - cluster.now().getTime()) / 3600_000;
  assert.equal(hours, 12);
  assert.deepEqual(cluster.codes(), ['T1000I', 'TC000I']);
  const told = cluster.last('T1000I');
  assert.deepEqual(
    [told['user'], told['success'], told['method'], told['addr.remote']],
    ['ana', true, 'local', '198.51.100.9'],
  );
});

test('a code is good once, and those before it are used up with it', async (t) => {
  const { cluster, ana, logIn } = await withAna(t);
  const early = await ana.code();
  cluster.advance(step);
  const otp = await ana.code();
  await logIn({ password, otp });
  await assert.rejects(logIn({ password, otp }), wrong);
  await assert.rejects(logIn({ password, otp: early }), wrong);
  assert.match(String(cluster.last('T1000W')['error']), /used before/);
  cluster.advance(step);
  await logIn({ password, otp: await ana.code() });
});

test('of two that use one code at the same moment, one gets in', async (t) => {
  const { ana, logIn } = await withAna(t);
  const otp = await ana.code();
  const both = await Promise.allSettled([logIn({ password, otp }), logIn({ password, otp })]);
  assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
});

test('a code of the step before or after is taken, one further away is not', async (t) => {
  const { cluster, ana, logIn } = await withAna(t);
  const now = await ana.code();
  cluster.advance(step);
  await logIn({ password, otp: now });
  cluster.advance(step);
  const old = await ana.code();
  cluster.advance(2 * step);
  await assert.rejects(logIn({ password, otp: old }), wrong);
});

test('whoever fails learns that something was wrong, the log learns what', async (t) => {
  const { cluster, ana, logIn } = await withAna(t);
  const reasons: string[] = [];
  const fail = async (proof: Parameters<typeof logIn>[0]) => {
    const error = await logIn(proof).then(
      () => undefined,
      (thrown: Error) => thrown.message,
    );
    reasons.push(String(cluster.last('T1000W')['error']));
    cluster.advance(3600_000);
    return error;
  };
  const said = [
    await fail({ user: 'nobody', password, otp: '123456' }),
    await fail({ password: 'wrong', otp: await ana.code() }),
    await fail({ password, otp: '000000' }),
    await fail({ password }),
    await fail({}),
  ];
  assert.deepEqual(new Set(said), new Set(['User name, password or second factor is wrong.']));
  assert.deepEqual(reasons, [
    'There is no user "nobody".',
    'the password is wrong',
    'the one-time code is wrong or was used before',
    'no second factor was given',
    'the password is wrong',
  ]);
});

test('guessing at a user gets slower and slower, then nothing of them from there is looked at for a while, known or not', async (t) => {
  const { cluster, ana } = await withAna(t);
  for (const user of ['ana', 'nobody']) {
    const remote_addr = `203.0.113.${user.length}`;
    const guess = (secret: string, otp: string) =>
      cluster.service.handlers.logIn(
        {
          ...logInBody({ user, password: secret, otp }),
          body: { ...logInBody({ user, password: secret, otp }).body, remote_addr },
        },
        cluster.as(proxy),
      );
    for (let i = 0; i < 3; i++) await assert.rejects(guess('guess', '000000'), wrong);
    await assert.rejects(guess('guess', '000000'), wrong);
    await assert.rejects(guess(password, await ana.code()), { kind: 'limit', code: 'auth.throttled' });
    for (let i = 4; i < 10; i++) {
      cluster.advance(60_000);
      await assert.rejects(guess('guess', '000000'), wrong);
    }
    assert.match(String(cluster.last('T1000W')['error']), /locked after too many failures/);
    cluster.advance(60_000);
    await assert.rejects(guess(password, await ana.code()), { kind: 'limit', code: 'auth.locked_out' });
    assert.match(String(cluster.last('T1000W')['error']), /Too many failed attempts/);
    if (user === 'ana') assert.equal(typeof (await lockedUntil(cluster, user)), 'string');
  }
});

test('whoever names somebody cannot lock them out: guesses from everywhere only get slow, and not where they come from', async (t) => {
  const { cluster, ana } = await withAna(t);
  const from = (remote_addr: string, proof: { password: string; otp: string }) => {
    const request = logInBody({ user: 'ana', ...proof });
    const body = { ...request.body, remote_addr };
    return cluster.service.handlers.logIn({ ...request, body }, cluster.as(proxy));
  };
  const wrongs = { password: 'guess', otp: '000000' };
  await from('192.0.2.7', { password, otp: await ana.code() });
  for (let i = 0; i < 60; i++) {
    await assert.rejects(from(`203.0.113.${i}`, wrongs), wrong);
    cluster.advance(8_000);
  }
  await assert.rejects(from('203.0.113.200', wrongs), wrong);
  const otp = await ana.code();
  await assert.rejects(
    from('203.0.113.201', { password, otp }),
    { code: 'auth.throttled' },
    'a stranger waits',
  );
  await from('192.0.2.7', { password, otp });
});

test('an address that guesses at many users is slowed, its neighbours are not', async (t) => {
  const { cluster, ana } = await withAna(t);
  const from = (user: string, remote_addr: string, proof: { password: string; otp: string }) => {
    const request = logInBody({ user, ...proof });
    return cluster.service.handlers.logIn(
      { ...request, body: { ...request.body, remote_addr } },
      cluster.as(proxy),
    );
  };
  const bad = { password: 'guess', otp: '000000' };
  for (let i = 0; i < 21; i++) await assert.rejects(from(`u${i}`, '2001:db8::1', bad), wrong);
  await assert.rejects(from('u99', '[2001:db8::ffff]:99', bad), { kind: 'limit' });
  await from('ana', '2001:db8:0:1::1', { password, otp: await ana.code() });
});

test('the second factor follows the cluster: off asks for none, optional only whom has one', async (t) => {
  for (const secondFactor of ['off', 'optional'] as const) {
    const { cluster, logIn } = await withAna(t, { secondFactor });
    await addUser(cluster, 'ben');
    const { token } = await cluster.service.handlers.createInvite(
      { params: { name: 'ben' }, query: undefined, body: { purpose: 'invite' } },
      cluster.as(admin),
    );
    const remote_addr = '::1';
    await cluster.service.handlers.redeemInvite(call({ token, password, remote_addr }), cluster.as(proxy));
    await logIn({ user: 'ben', password });
    if (secondFactor === 'optional') await assert.rejects(logIn({ password }), wrong);
    else await logIn({ password });
  }
});

test('the challenge is the same kind of answer for everybody', async (t) => {
  const { cluster } = await withAna(t);
  const ask = (user: string) =>
    cluster.service.handlers.mfaChallenge(call({ user, remote_addr: '::1' }), cluster.as(proxy));
  const shape = (value: unknown): unknown =>
    typeof value === 'object' && value !== null
      ? Object.entries(value).map(([name, each]) => [name, name === 'challenge' ? 0 : shape(each)])
      : typeof value === 'string'
        ? value.length
        : value;
  assert.deepEqual(shape(await ask('ana')), shape(await ask('nobody')));
  const keys = async (user: string) => (await ask(user)).webauthn?.['allowCredentials'];
  assert.deepEqual(await keys('nobody'), await keys('nobody'));
  assert.notDeepEqual(await keys('nobody'), await keys('nobodie'));
});

test('a locked user proves everything and still does not get in, with the lock as reason', async (t) => {
  const { cluster, ana, logIn } = await withAna(t);
  for (const target of [{ user: 'ana' }, { role: 'access' }]) {
    await putLock(cluster, target);
    await assert.rejects(logIn({ password, otp: await ana.code() }), {
      kind: 'denied',
      code: 'auth.locked',
      message: /is locked: on leave/,
    });
    assert.match(String(cluster.last('T1000W')['error']), /is locked/);
    await cluster.service.handlers.deleteResource(
      { params: { kind: 'lock', name: 'l' }, query: undefined, body: undefined },
      cluster.as(admin),
    );
  }
  await logIn({ password, otp: await ana.code() });
});

test('keys that are none get no certificate, and leave the code usable', async (t) => {
  const { cluster, ana, logIn } = await withAna(t);
  const otp = await ana.code();
  const { body } = logInBody({ user: 'ana', password, otp });
  for (const bad of [{ ssh_public_key: 'AAAA' }, { tls_public_key: 'x' }])
    await assert.rejects(cluster.service.handlers.logIn(call({ ...body, ...bad }), cluster.as(proxy)), {
      kind: 'bad_input',
    });
  assert.deepEqual(cluster.codes(), ['T1000W', 'T1000W']);
  await logIn({ password, otp });
});

test('what cannot be told to the audit log is not handed out', async (t) => {
  const { cluster, ana, logIn } = await withAna(t);
  cluster.failAppends = 1;
  await assert.rejects(logIn({ password, otp: await ana.code() }), { code: 'auth.not_audited' });
});

function putLock(cluster: Cluster, target: { user: string } | { role: string }) {
  const body = { kind: 'lock' as const, metadata: { name: 'l' }, spec: { target, message: 'on leave' } };
  return cluster.service.handlers.putResource(
    { params: { kind: 'lock', name: 'l' }, query: {}, body },
    cluster.as(admin),
  );
}

async function lockedUntil(cluster: Cluster, name: string): Promise<string | undefined> {
  const request = { params: { kind: 'user' as const, name }, query: {}, body: undefined };
  const user = await cluster.service.handlers.getResource(request, cluster.as(admin));
  return user.kind === 'user' ? user.spec.status?.locked_until : undefined;
}
