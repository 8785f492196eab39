import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openHostKeys } from '../ca/host-keys.ts';
import { parseCertificate } from '../ca/parse-certificate.ts';
import {
  AuthStub,
  collectLog,
  makeMember,
  refuse,
  temporaryDirectory,
  token,
  until,
} from './auth-stub.fixture.ts';
import { HostMember } from './host-member.ts';
import { becomeMember, type JoinOptions } from './join-cluster.ts';

async function joining(t: TestContext, stub: AuthStub, more: Partial<JoinOptions> = {}) {
  const dataDir = more.dataDir ?? (await temporaryDirectory(t));
  const log = collectLog();
  const options: JoinOptions = {
    dataDir,
    keys: await openHostKeys(dataDir),
    hostUuid: randomUUID(),
    nodename: 'web-1',
    roles: ['node'],
    principals: ['web-1', '10.0.0.1'],
    addresses: [stub.address],
    token,
    pins: stub.authorities.pins(),
    version: '1.2.3',
    now: () => new Date(),
    signal: new AbortController().signal,
    ...more,
    log,
  };
  return { options, log };
}

test('a host with the right token and pin joins, and is a member from then on', async (t) => {
  const stub = await AuthStub.start(t);
  const { options } = await joining(t, stub);
  const member = await becomeMember(options);
  assert.deepEqual(parseCertificate(member.sshCertificate).principals.slice(-2), ['web-1', '10.0.0.1']);
  assert.deepEqual(member.trust, stub.authorities.trust());
  assert.match(member.tls.cert, /CERTIFICATE-----\n-----BEGIN/, 'the authority stands behind the leaf');
  const path = join(options.dataDir, 'member.json');
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  // The second start needs neither token nor cluster.
  await stub.stop();
  const again = await becomeMember({ ...options, token: undefined });
  assert.equal(again.tls.cert, member.tls.cert);
  assert.equal(stub.count('POST /v1/join'), 1);
});

test('with a wrong pin nothing is sent, not even a challenge asked for', async (t) => {
  const stub = await AuthStub.start(t);
  const { options } = await joining(t, stub, { pins: [`sha256:${'0'.repeat(64)}`] });
  await assert.rejects(becomeMember(options), {
    kind: 'denied',
    code: 'membership.wrong_pin',
    message: new RegExp(`pin ${stub.authorities.pins()[0]}, but ca_pin is sha256:0{64}\\. Nothing was sent`),
  });
  assert.equal(stub.calls.length, 0);
});

test('a stranger at the first address is not passed over for the right cluster at the second', async (t) => {
  const stub = await AuthStub.start(t);
  const stranger = await AuthStub.start(t);
  const { options } = await joining(t, stub, { addresses: [stranger.address, stub.address] });
  await assert.rejects(becomeMember(options), { code: 'membership.wrong_pin' });
  assert.equal(stub.calls.length + stranger.calls.length, 0);
  await stranger.stop();
  assert.ok(await becomeMember(options), 'one that is only away is passed over');
});

test('one of several pins is enough; without any the joining is told with the pin that was seen', async (t) => {
  const stub = await AuthStub.start(t);
  const pins = [`sha256:${'0'.repeat(64)}`, stub.authorities.pins()[0]?.toUpperCase() ?? ''];
  assert.ok(await becomeMember((await joining(t, stub, { pins })).options));
  const { options, log } = await joining(t, stub, { pins: [] });
  assert.ok(await becomeMember(options));
  const warning = log.lines.find(({ level }) => level === 'warn');
  assert.equal(warning?.fields['pin'], stub.authorities.pins()[0]);
});

test('whoever is no auth server is refused before anything is sent', async (t) => {
  const node = await AuthStub.start(t, { role: 'node' });
  const { options } = await joining(t, node, { pins: [] });
  await assert.rejects(becomeMember(options), {
    code: 'membership.wrong_server',
    message: /a host \(node\), expected: auth/,
  });
  assert.equal(node.calls.length, 0);
});

test('a certificate that only claims the pinned authority is refused', async (t) => {
  // The impostor shows the true authority behind a leaf that this authority never made.
  const real = await AuthStub.start(t);
  const impostor = await AuthStub.start(t, { showAuthorityOf: real.authorities });
  const { options } = await joining(t, impostor, { pins: real.authorities.pins() });
  await assert.rejects(becomeMember(options), { kind: 'denied' });
  assert.equal(impostor.calls.length, 0);
});

test('a token that is refused ends the joining with the reason', async (t) => {
  const stub = await AuthStub.start(t);
  const { options } = await joining(t, stub, { token: 'expired-token' });
  await assert.rejects(becomeMember(options), { kind: 'denied', code: 'token.unknown', message: /expired/ });
  assert.equal(await HostMember.open(options), undefined);
});

test('while the cluster is away the host goes on asking, until it is told to stop', async (t) => {
  const stub = await AuthStub.start(t);
  await stub.stop();
  const ending = new AbortController();
  const { options, log } = await joining(t, stub, { signal: ending.signal });
  const waiting = becomeMember(options);
  await until('it has tried', () => log.lines.length >= 2);
  assert.match(String(log.lines[0]?.fields['error']), /cannot be reached: nothing listens there/);
  await stub.listen();
  assert.ok(await waiting);
  await stub.stop();
  const other = await joining(t, stub, { signal: ending.signal });
  const given = assert.rejects(becomeMember(other.options), { kind: 'unavailable' });
  await until('it has tried', () => other.log.lines.length >= 1);
  ending.abort();
  await given;
});

test('a host that came with too many others is asked to come back, and does', async (t) => {
  const stub = await AuthStub.start(t);
  const { options, log } = await joining(t, stub);
  const join = stub.handlers.get('POST /v1/join');
  assert.ok(join);
  stub.handlers.set('POST /v1/join', (_, response) => {
    stub.handlers.set('POST /v1/join', join);
    refuse(response, 429, 'Too many calls from this address.', 'api.too_fast');
    return undefined;
  });
  assert.ok(await becomeMember(options));
  assert.equal(stub.count('POST /v1/join'), 2);
  assert.equal(
    log.lines.find(({ level }) => level === 'warn')?.fields['error'],
    'Too many calls from this address.',
  );
});

test('without a token, an unjoined host says what it lacks', async (t) => {
  const stub = await AuthStub.start(t);
  const { options } = await joining(t, stub, { token: undefined });
  await assert.rejects(becomeMember(options), {
    code: 'membership.no_token',
    message: 'This host has not joined the cluster yet, and there is no join token.',
    hint: /tctl nodes add/,
  });
});

test('expired certificates, a further role and a rotation slept through ask for a new join', async (t) => {
  const stub = await AuthStub.start(t);
  const { options } = await joining(t, stub);
  await becomeMember(options);
  const late = { ...options, now: () => new Date(Date.now() + 2 * 3_600_000), token: undefined };
  await assert.rejects(becomeMember(late), {
    code: 'membership.no_token',
    message: /certificates expired at/,
  });
  const more = { ...options, roles: ['node', 'proxy'] as const, token: undefined };
  await assert.rejects(becomeMember(more), { message: /joined as node, now it is to be node, proxy/ });
  const again = await becomeMember({ ...options, roles: ['node', 'proxy'] });
  assert.deepEqual(again.roles, ['node', 'proxy']);
  await again.replaceTrust((await AuthStub.start(t)).authorities.trust());
  await assert.rejects(becomeMember({ ...options, token: undefined }), { message: /rotated away/ });
});

test('certificates for other keys are never taken', async (t) => {
  const stub = await AuthStub.start(t);
  const { options } = await joining(t, stub);
  const other = await makeMember(t, stub.authorities);
  const granted = JSON.parse(await readFile(join(other.dataDir, 'member.json'), 'utf8')).granted;
  stub.handlers.set('POST /v1/join', () => granted);
  await assert.rejects(becomeMember(options), { code: 'membership.bad_grant', message: /for other keys/ });
  await writeFile(join(options.dataDir, 'member.json'), 'damaged', { mode: 0o600 });
  await assert.rejects(becomeMember(options), {
    code: 'membership.bad_identity',
    hint: /join the cluster again/,
  });
});
