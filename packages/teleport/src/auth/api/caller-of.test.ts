import assert from 'node:assert/strict';
import { createSign, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { createClient } from '@sallyport/contracts/api/client.ts';
import { Authorities } from '../../ca/authorities.ts';
import { generateTlsKey, pemOf, spkiPem } from '../../ca/host-keys.ts';
import type { TlsAuthority } from '../../ca/tls-authority.ts';
import { issueHostTls, issueUserTls } from '../../ca/tls-issue.ts';
import { serverTlsOptions } from '../../ca/tls-options.ts';
import { collectedLog, testHandlers, testRoutes, testRules, testTransport } from './api.fixture.ts';
import { startApiServer } from './api-server.ts';
import type { RefusedCall } from './call.ts';
import { certificateCaller } from './caller-of.ts';

const hourMs = 3600 * 1000;

async function start(t: TestContext) {
  const dir = await mkdtemp(join(tmpdir(), 'sallyport-callers-'));
  t.after(() => rm(dir, { recursive: true }));
  let skewMs = 0;
  const now = () => new Date(Date.now() + skewMs);
  const authoritiesOf = (clusterName: string) =>
    Authorities.open({ dataDir: join(dir, clusterName), clusterName, create: true, now });
  const ours = await authoritiesOf('purple');
  const life = () => ({
    validAfter: new Date(now().getTime() - hourMs),
    validBefore: new Date(now().getTime() + hourMs),
  });
  const hostPair = async (by: TlsAuthority, cluster = 'purple') => {
    const key = generateTlsKey();
    const asked = {
      publicKeyPem: spkiPem(key),
      cluster,
      hostUuid: randomUUID(),
      dnsNames: [],
      ipAddresses: [],
    };
    return { key: pemOf(key), cert: await issueHostTls(by, { ...asked, roles: ['node'], ...life() }) };
  };
  const userPair = async (by: TlsAuthority) => {
    const key = generateTlsKey();
    const asked = {
      publicKeyPem: spkiPem(key),
      cluster: 'purple',
      user: 'alice',
      traits: {},
      logins: ['root'],
    };
    return { key: pemOf(key), cert: await issueUserTls(by, { ...asked, roles: ['editor'], ...life() }) };
  };
  const own = await hostPair(ours.active('host').tls);
  const tls = () => serverTlsOptions({ keyPem: own.key, certPem: own.cert, trust: ours.trust() });
  const refused: RefusedCall[] = [];
  const server = await startApiServer({
    routes: testRoutes,
    handlers: testHandlers({ sources: 0, lines: 0, aborted: 0 }),
    rules: testRules,
    version: '1.0.0',
    log: collectedLog(),
    onRefused: (call) => refused.push(call),
    listen: { host: '127.0.0.1', port: 0, tls: tls(), callerOf: certificateCaller(() => ours.trust(), now) },
  });
  t.after(() => server.close(0));
  const address = server.address as { host: string; port: number };
  const as = (pair: { key: string; cert: string }) => {
    const transport = testTransport({ ...address, tls: { ...pair, rejectUnauthorized: false } });
    t.after(() => transport.close());
    const client = createClient(testRoutes, transport);
    return () => client.put({ params: { id: 'a' }, body: { list: [] } });
  };
  return {
    ours,
    authoritiesOf,
    hostPair,
    userPair,
    as,
    server,
    tls,
    refused,
    travel: (ms: number) => (skewMs += ms),
  };
}

const notAccepted = (message: RegExp) => ({ kind: 'denied', code: 'api.certificate', message });

describe('the caller by a certificate of the cluster', () => {
  it('is the host or the user that it names', async (t) => {
    const { ours, hostPair, userPair, as } = await start(t);
    assert.deepEqual(await as(await hostPair(ours.active('host').tls))(), { count: 0 });
    assert.deepEqual(await as(await userPair(ours.active('user').tls))(), { count: 0 });
  });

  it('is refused when the certificate ends, also on a connection that lives on', async (t) => {
    const { ours, userPair, as, travel, refused } = await start(t);
    const call = as(await userPair(ours.active('user').tls));
    await call();
    travel(2 * hourMs);
    await assert.rejects(call(), notAccepted(/expired at/));
    assert.equal(refused.length, 1);
    assert.match(refused[0]?.remoteAddress ?? '', /127\.0\.0\.1/);
  });

  it('is refused with a certificate of another authority, of the wrong one of ours, or of another cluster', async (t) => {
    const { ours, authoritiesOf, hostPair, userPair, as } = await start(t);
    const theirs = await authoritiesOf('green');
    await assert.rejects(
      as(await hostPair(theirs.active('host').tls))(),
      notAccepted(/not signed by a host CA/),
    );
    await assert.rejects(
      as(await hostPair(ours.active('user').tls))(),
      notAccepted(/not signed by a host CA/),
    );
    await assert.rejects(
      as(await userPair(ours.active('host').tls))(),
      notAccepted(/not signed by a user CA/),
    );
    await assert.rejects(
      as(await hostPair(ours.active('host').tls, 'green'))(),
      notAccepted(/of cluster "green"/),
    );
  });

  it('follows a rotation: the old authority holds until the last phase, then no longer', async (t) => {
    const { ours, userPair, as, server, tls } = await start(t);
    const old = await userPair(ours.active('user').tls);
    const kept = as(old);
    await kept();
    for (const phase of ['init', 'update_clients', 'update_servers'] as const) {
      await ours.rotate('user', phase);
      server.replaceTls(tls());
      await kept();
      await as(old)();
      await as(await userPair(ours.active('user').tls))();
    }
    const renewed = await userPair(ours.active('user').tls);
    await ours.rotate('user', 'standby');
    server.replaceTls(tls());
    await assert.rejects(kept(), notAccepted(/not signed by a user CA/));
    await assert.rejects(as(old)(), notAccepted(/not signed by a user CA/));
    await as(renewed)();
  });

  it('is refused with a forged certificate that borrows names of our authority', async (t) => {
    const { ours, hostPair, as } = await start(t);
    const real = ours.active('host').tls;
    const forger = generateTlsKey();
    const forging: TlsAuthority = {
      certificatePem: real.certificatePem,
      sign: async (data) => createSign('sha256').update(data).sign(forger),
    };
    await assert.rejects(as(await hostPair(forging))(), notAccepted(/not signed by a host CA/));
  });
});
