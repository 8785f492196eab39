// Two auth servers of one cluster on one store, each with a connection of its own: whatever begins at one goes on at
// the other, and what is good once is good once in both.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { until } from '../until.fixture.ts';
import type { Caller } from './api/handler.ts';
import {
  addUser,
  admin,
  anyone,
  type Cluster,
  call,
  joinBody,
  logInBody,
  newHost,
  openCluster,
  password,
  proxy,
  setUpUser,
} from './auth-service.fixture.ts';

async function twoServers(t: TestContext): Promise<[Cluster, Cluster]> {
  const a = await openCluster(t, { shared: true });
  return [a, await openCluster(t, { shared: true, beside: a })];
}

/** A call whose first attempt was sent to one server and whose second to another. */
const sent = (cluster: Cluster, caller: Caller, id: string, repeated: boolean) =>
  cluster.as(caller, { once: { id, repeated } });

test('both sign with the same authorities, and a rotation at one is one at the other', async (t) => {
  const [a, b] = await twoServers(t);
  assert.deepEqual(a.authorities.trust(), b.authorities.trust());
  await a.service.handlers.rotate(call({ type: 'host', phase: 'init' }), a.as(admin));
  await until('the other follows', () => b.authorities.pins().length === 2);
  assert.deepEqual(b.authorities.trust(), a.authorities.trust());
});

test('a host that got its challenge at one joins at the other, once', async (t) => {
  const [a, b] = await twoServers(t);
  const body = await joinBody(a, newHost(), 'static-secret');
  const joined = await b.service.handlers.join(call(body), b.as(anyone));
  assert.deepEqual(joined.trust, a.authorities.trust());
  for (const server of [a, b])
    await assert.rejects(server.service.handlers.join(call(body), server.as(anyone)), {
      code: 'join.replayed',
    });
});

test('a one-time code is good at one of the servers only, whichever is first', async (t) => {
  const [a, b] = await twoServers(t);
  await addUser(a, 'alice');
  const { code } = await setUpUser(b, 'alice');
  a.advance(60_000);
  const body = logInBody({ user: 'alice', password, otp: await code() });
  const all = await Promise.allSettled([a, b].map((s) => s.service.handlers.logIn(body, s.as(proxy))));
  assert.equal(all.filter(({ status }) => status === 'fulfilled').length, 1);
});

test('failures are counted over both, and a link works once', async (t) => {
  const [a, b] = await twoServers(t);
  await addUser(a, 'alice');
  const invite = { params: { name: 'alice' }, query: undefined, body: { purpose: 'invite' as const } };
  const { token } = await a.service.handlers.createInvite(invite, a.as(admin));
  const remote_addr = '198.51.100.9';
  const { totp } = await b.service.handlers.readInvite(call({ token, remote_addr }), b.as(proxy));
  assert.ok(totp);
  const { generate } = await import('otplib');
  const otp = await generate({ secret: totp.secret, epoch: Math.floor(a.now().getTime() / 1000) });
  const redeem = call({ token, password, otp, remote_addr });
  const all = await Promise.allSettled(
    [a, b].map((s) => s.service.handlers.redeemInvite(redeem, s.as(proxy))),
  );
  assert.equal(all.filter(({ status }) => status === 'fulfilled').length, 1);
  for (let i = 0; i < 10; i++) {
    const server = i % 2 === 0 ? a : b;
    a.advance(31_000);
    await server.service.handlers
      .logIn(logInBody({ user: 'alice', password: 'wrong', otp: '000000' }), server.as(proxy))
      .catch(() => undefined);
  }
  for (const server of [a, b])
    await assert.rejects(
      server.service.handlers.logIn(logInBody({ user: 'alice', password, otp }), server.as(proxy)),
      {
        code: 'auth.locked_out',
      },
    );
});

test('a log-in whose answer was lost is answered alike by the other server: one log-in, one event', async (t) => {
  const [a, b] = await twoServers(t);
  await addUser(a, 'alice');
  const { code } = await setUpUser(a, 'alice');
  a.advance(60_000);
  const body = logInBody({ user: 'alice', password, otp: await code() });
  const id = randomUUID();
  a.codes();
  const lost = await a.service.handlers.logIn(body, sent(a, proxy, id, false));
  const heard = await b.service.handlers.logIn(body, sent(b, proxy, id, true));
  assert.deepEqual(heard, lost);
  assert.deepEqual(a.codes(), ['T1000I', 'TC000I']);
  const other: Caller = { kind: 'host', hostUuid: newHost().local.hostUuid, roles: ['proxy'] };
  for (const [request, caller, name] of [
    [body, proxy, randomUUID()],
    [logInBody({ user: 'alice', password, otp: '123456' }), proxy, id],
    [body, other, id],
  ] as const) {
    await assert.rejects(b.service.handlers.logIn(request, sent(b, caller, name, true)), { kind: 'denied' });
    a.advance(31_000);
  }
  a.advance(120_000);
  await assert.rejects(b.service.handlers.logIn(body, sent(b, proxy, id, true)), { kind: 'denied' });
});

test('a first attempt that fails leaves the second one free', async (t) => {
  const [a, b] = await twoServers(t);
  await addUser(a, 'alice');
  const { code } = await setUpUser(a, 'alice');
  a.advance(60_000);
  const id = randomUUID();
  const otp = await code();
  const body = logInBody({ user: 'alice', password, otp });
  const wrong = logInBody({ user: 'alice', password: 'wrong', otp });
  await assert.rejects(a.service.handlers.logIn(wrong, sent(a, proxy, id, false)), { kind: 'denied' });
  await assert.rejects(b.service.handlers.logIn(wrong, sent(b, proxy, id, true)), { kind: 'denied' });
  assert.ok(await b.service.handlers.logIn(body, sent(b, proxy, id, true)));
});

test('changes that are sent again are made once: join, create, delete, token, certificate', async (t) => {
  const [a, b] = await twoServers(t);
  const twice = async <T>(one: (server: Cluster, repeated: boolean) => Promise<T>): Promise<[T, T]> => [
    await one(a, false),
    await one(b, true),
  ];
  const ids = { join: randomUUID(), create: randomUUID(), token: randomUUID(), rm: randomUUID() };
  const join = await joinBody(a, newHost(), 'static-secret');
  a.codes();
  const joined = await twice((s, again) =>
    s.service.handlers.join(call(join), sent(s, anyone, ids.join, again)),
  );
  assert.deepEqual(joined[0], joined[1]);
  const user = { kind: 'user' as const, metadata: { name: 'bob' }, spec: { roles: ['access'] } };
  const path = { kind: 'user' as const, name: 'bob' };
  const create = { params: path, query: { mode: 'create' as const }, body: user };
  await twice((s, again) => s.service.handlers.putResource(create, sent(s, admin, ids.create, again)));
  await assert.rejects(b.service.handlers.putResource(create, sent(b, admin, randomUUID(), false)), {
    code: 'auth.already_exists',
  });
  const order = call({ roles: ['node' as const] });
  const tokens = await twice((s, again) =>
    s.service.handlers.createToken(order, sent(s, admin, ids.token, again)),
  );
  assert.deepEqual(tokens[0], tokens[1]);
  const gone = { params: path, query: undefined, body: undefined };
  const deleted = await twice((s, again) =>
    s.service.handlers.deleteResource(gone, sent(s, admin, ids.rm, again)),
  );
  assert.deepEqual(deleted, [{ deleted: 'bob' }, { deleted: 'bob' }]);
  assert.deepEqual(a.codes(), ['TJ002I', 'TC000I', 'T1002I', 'TJT00I', 'T1004I', 'TLK00I']);
});

test('an attempt that stood still while its twin was carried out elsewhere is no failure of anybody', async (t) => {
  const [a, b] = await twoServers(t);
  await addUser(a, 'alice');
  const { code } = await setUpUser(b, 'alice');
  a.advance(60_000);
  const body = logInBody({ user: 'alice', password, otp: await code() });
  const id = randomUUID();
  const answer = await b.service.handlers.logIn(body, sent(b, proxy, id, true));
  // The server of the first attempt goes on: for it the call is the first.
  const late = await a.service.handlers.logIn(body, sent(a, proxy, id, false));
  assert.deepEqual(late, answer);
  assert.ok(!a.events.some((event) => event.code === 'T1000W'), 'nothing was refused');
  const again = await b.service.handlers
    .logIn(logInBody({ user: 'alice', password, otp: await code() }), b.as(proxy))
    .catch((error: unknown) => error);
  assert.ok(again instanceof Error, 'the code is used all the same');
});
