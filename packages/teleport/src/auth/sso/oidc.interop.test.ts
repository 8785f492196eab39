// Log-in by OpenID Connect against a real provider over https: what is taken, and each thing that is refused.
import assert from 'node:assert/strict';
import { after, before, describe, type TestContext, test } from 'node:test';
import type { OidcDocument } from '@sallyport/contracts/api/connectors.ts';
import { parseCertificate } from '../../ca/parse-certificate.ts';
import { addUser, admin, type Cluster, call, openCluster, proxy } from '../auth-service.fixture.ts';
import { client, type OpenidServer, startOpenid } from './openid.fixture.ts';
import { callback, putConnector, TestSignOn } from './sign-on.fixture.ts';

const people = {
  alice: { email: 'alice@example.com', email_verified: true, groups: ['dev', 'eng-core'], name: 'Alice' },
  bob: { email: 'bob@example.com', email_verified: false, groups: ['dev'] },
  carol: { email: 'carol@example.com', email_verified: true, groups: ['visitors'] },
  dave: { email: 'dave', email_verified: true, groups: ['dev'] },
  mallory: { email: 'no name at all', email_verified: true, groups: ['dev'] },
};

describe('log-in by OpenID Connect', { timeout: 180_000 }, () => {
  let provider: OpenidServer;
  let hasty: OpenidServer;

  before(async () => {
    const redirectUrls = [callback('oidc')];
    provider = await startOpenid({ redirectUrls, people });
    // Its tokens have ended before they arrive.
    hasty = await startOpenid({ redirectUrls, people, configuration: { ttl: { IdToken: () => -3600 } } });
  });
  after(() => Promise.all([provider?.close(), hasty?.close()]));

  function connector(
    changes: Partial<OidcDocument['spec']> = {},
    name = 'okta',
    at = provider,
  ): OidcDocument {
    return {
      kind: 'oidc',
      metadata: { name },
      spec: {
        issuer_url: at.origin,
        client_id: client.id,
        client_secret: client.secret,
        redirect_url: callback('oidc'),
        claims_to_roles: [{ claim: 'groups', value: 'dev', roles: ['dev'] }],
        issuer_ca: at.ca,
        ...changes,
      },
    };
  }

  async function open(t: TestContext, document = connector()): Promise<Cluster> {
    const cluster = await openCluster(t);
    const allow = { logins: ['{{external.email}}', 'ubuntu'], node_labels: { '*': '*' } };
    const body = { kind: 'role' as const, metadata: { name: 'dev' }, spec: { allow } };
    const params = { kind: 'role' as const, name: 'dev' };
    await cluster.service.handlers.putResource({ params, query: {}, body }, cluster.as(admin));
    await putConnector(cluster, document);
    cluster.codes();
    return cluster;
  }

  /** Refused: in the audit log with the reason, and tsh hears it. */
  async function refused(cluster: Cluster, flow: TestSignOn, query: string, reason: RegExp): Promise<void> {
    await assert.rejects(flow.complete(query), { kind: 'denied', message: reason });
    const event = cluster.last('T1001W');
    assert.match(String(event['error']), reason);
    assert.equal(event['method'], 'oidc');
    const result = await flow.result();
    assert.equal(result.state, 'refused');
    assert.match(result.state === 'refused' ? result.message : '', reason);
    assert.doesNotMatch(JSON.stringify(cluster.events), new RegExp(client.secret));
  }

  test('makes a user of the claims, for as long as the certificates live, and tells it', async (t) => {
    const cluster = await open(t);
    const flow = await TestSignOn.begin(cluster, 'okta');
    const asked = new URL(flow.url).searchParams;
    assert.equal(asked.get('code_challenge_method'), 'S256');
    assert.equal(asked.get('scope'), 'openid profile email');
    const query = await provider.browse(flow.url, 'alice');
    assert.deepEqual(await flow.complete(query), { user: 'alice@example.com', connector: 'okta' });
    assert.deepEqual(cluster.codes(), ['T1002I', 'T1001I', 'TC000I']);
    const event = cluster.last('T1001I');
    assert.equal(event['method'], 'oidc');
    assert.equal(event['connector'], 'okta');
    assert.deepEqual((event['attributes'] as Record<string, unknown>)['groups'], ['dev', 'eng-core']);
    const result = await flow.result();
    assert.ok(result.state === 'done');
    const certificate = parseCertificate(Buffer.from(result.certificates.ssh_certificate, 'base64'));
    assert.equal(certificate.keyId, 'alice@example.com');
    assert.deepEqual(result.certificates.logins, ['alice@example.com', 'ubuntu']);
    for (const login of result.certificates.logins) assert.ok(certificate.principals.includes(login));
    const params = { kind: 'user' as const, name: 'alice@example.com' };
    const user = await cluster.service.handlers.getResource(
      { params, query: {}, body: undefined },
      cluster.as(admin),
    );
    assert.equal(user.metadata.expires, result.certificates.valid_before);
    assert.ok(user.kind === 'user' && user.spec.created_by?.subject === 'alice');
    cluster.advance(13 * 3_600_000);
    await assert.rejects(
      cluster.service.handlers.getResource({ params, query: {}, body: undefined }, cluster.as(admin)),
      { kind: 'not_found' },
    );
  });

  test('may begin at one auth server, come back to another, and be fetched from the first', async (t) => {
    const here = await open(t);
    const there = await openCluster(t, { dataDir: here.dataDir });
    const flow = await TestSignOn.begin(here, 'okta');
    const query = await provider.browse(flow.url, 'alice');
    assert.equal((await flow.at(there).complete(query)).user, 'alice@example.com');
    assert.equal((await flow.result()).state, 'done');
    await assert.rejects(flow.at(there).complete(query), { code: 'auth.sso_replayed' });
  });

  test('again gives the same user what the provider says now', async (t) => {
    const cluster = await open(t);
    for (const _ of [1, 2]) {
      const flow = await TestSignOn.begin(cluster, 'okta');
      await flow.complete(await provider.browse(flow.url, 'alice'));
    }
    assert.deepEqual(cluster.codes(), ['T1002I', 'T1001I', 'TC000I', 'T1001I', 'TC000I']);
  });

  test('refuses a return whose state is another, and a return without one', async (t) => {
    const cluster = await open(t);
    const flow = await TestSignOn.begin(cluster, 'okta');
    const query = await provider.browse(flow.url, 'alice');
    const altered = query.replace(flow.state, 'x'.repeat(flow.state.length));
    for (const wrong of [altered, 'code=abc', '']) {
      await assert.rejects(flow.complete(wrong), { kind: 'denied', code: 'auth.sso_unknown' });
      assert.match(String(cluster.last('T1001W')['error']), /belongs to no log-in/);
    }
    await flow.complete(query);
  });

  test('refuses another browser than the one that was sent, and goes on with that one', async (t) => {
    const cluster = await open(t);
    const flow = await TestSignOn.begin(cluster, 'okta');
    const query = await provider.browse(flow.url, 'alice');
    const [name = ''] = Object.keys(flow.cookies);
    for (const cookies of [{}, { [name]: 'a guess' }, { '0123456789abcdef': flow.cookies[name] ?? '' }]) {
      await assert.rejects(flow.complete(query, { cookies }), { code: 'auth.sso_other_browser' });
      assert.match(String(cluster.last('T1001W')['error']), /not the one that was sent/);
    }
    await assert.rejects(flow.complete(query, { kind: 'github' }), { code: 'auth.sso_other_browser' });
    await flow.complete(query);
  });

  test('refuses a return that comes twice', async (t) => {
    const cluster = await open(t);
    const flow = await TestSignOn.begin(cluster, 'okta');
    const query = await provider.browse(flow.url, 'alice');
    const both = await Promise.allSettled([flow.complete(query), flow.complete(query)]);
    assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
    await assert.rejects(flow.complete(query), { kind: 'denied', code: 'auth.sso_replayed' });
    assert.match(String(cluster.last('T1001W')['error']), /used before/);
    assert.equal((await flow.result()).state, 'done', 'who was first keeps what they got');
  });

  test('refuses a code that was used before, or is of another log-in', async (t) => {
    const cluster = await open(t);
    const first = await TestSignOn.begin(cluster, 'okta');
    const query = await provider.browse(first.url, 'alice');
    await first.complete(query);
    const second = await TestSignOn.begin(cluster, 'okta');
    await refused(
      cluster,
      second,
      query.replace(first.state, second.state),
      /does not take the code: invalid_grant/,
    );
  });

  test('refuses a token that was made for another log-in: its nonce is another', async (t) => {
    const cluster = await open(t);
    const flow = await TestSignOn.begin(cluster, 'okta');
    const url = new URL(flow.url);
    url.searchParams.set('nonce', 'another');
    await refused(cluster, flow, await provider.browse(url.href, 'alice'), /does not hold.*nonce/);
  });

  test('refuses a token that has ended', async (t) => {
    const cluster = await open(t, connector({}, 'okta', hasty));
    const flow = await TestSignOn.begin(cluster, 'okta');
    await refused(cluster, flow, await hasty.browse(flow.url, 'alice'), /does not hold.*exp/);
  });

  test('refuses an address nobody has verified, unless the connector says otherwise', async (t) => {
    const cluster = await open(t);
    const flow = await TestSignOn.begin(cluster, 'okta');
    await refused(
      cluster,
      flow,
      await provider.browse(flow.url, 'bob'),
      /has not verified the e-mail address/,
    );
    await putConnector(cluster, connector({ allow_unverified_email: true }));
    const again = await TestSignOn.begin(cluster, 'okta');
    assert.equal((await again.complete(await provider.browse(again.url, 'bob'))).user, 'bob@example.com');
  });

  test('refuses who gets no role, a name that is none, and a missing role', async (t) => {
    const cluster = await open(t);
    const nobody = await TestSignOn.begin(cluster, 'okta');
    await refused(
      cluster,
      nobody,
      await provider.browse(nobody.url, 'carol'),
      /nothing okta says.*gives a role/,
    );
    assert.deepEqual((cluster.last('T1001W')['attributes'] as Record<string, unknown>)['groups'], [
      'visitors',
    ]);
    const nameless = await TestSignOn.begin(cluster, 'okta');
    await refused(
      cluster,
      nameless,
      await provider.browse(nameless.url, 'mallory'),
      /cannot be the name of a user/,
    );
    await putConnector(
      cluster,
      connector({ claims_to_roles: [{ claim: 'groups', value: 'dev', roles: ['not-there'] }] }),
    );
    const roleless = await TestSignOn.begin(cluster, 'okta');
    const query = await provider.browse(roleless.url, 'alice');
    await assert.rejects(roleless.complete(query), { code: 'auth.no_role' });
    assert.match(String(cluster.last('T1001W')['error']), /no role "not-there"/);
  });

  test('never takes over a local user, another provider’s, or another person’s name', async (t) => {
    const cluster = await open(t);
    await addUser(cluster, 'alice@example.com');
    const flow = await TestSignOn.begin(cluster, 'okta');
    await refused(cluster, flow, await provider.browse(flow.url, 'alice'), /a user of the cluster's own/);
    await putConnector(cluster, connector({}, 'second'));
    const dave = await TestSignOn.begin(cluster, 'okta');
    await dave.complete(await provider.browse(dave.url, 'dave'));
    const other = await TestSignOn.begin(cluster, 'second');
    await refused(
      cluster,
      other,
      await provider.browse(other.url, 'dave'),
      /user of the identity provider okta/,
    );
  });

  test('tells what the provider’s own page says', async (t) => {
    const cluster = await open(t);
    const flow = await TestSignOn.begin(cluster, 'okta');
    await refused(
      cluster,
      flow,
      await provider.browse(flow.url, 'nobody'),
      /access_denied \(the person pressed cancel/,
    );
  });

  test('asks for a fresh and strong log-in, and refuses a weaker one', async (t) => {
    const cluster = await open(t, connector({ max_age: '10m', acr_values: ['urn:strong'], prompt: 'login' }));
    const flow = await TestSignOn.begin(cluster, 'okta');
    const asked = new URL(flow.url).searchParams;
    assert.equal(asked.get('max_age'), '600');
    assert.equal(asked.get('acr_values'), 'urn:strong');
    await refused(cluster, flow, await provider.browse(flow.url, 'alice'), /class none, not of urn:strong/);
  });

  test('refuses a locked user, and a deleted one until the lock ends', async (t) => {
    const cluster = await open(t);
    const first = await TestSignOn.begin(cluster, 'okta');
    await first.complete(await provider.browse(first.url, 'alice'));
    const params = { kind: 'user' as const, name: 'alice@example.com' };
    await cluster.service.handlers.deleteResource(
      { params, query: undefined, body: undefined },
      cluster.as(admin),
    );
    const flow = await TestSignOn.begin(cluster, 'okta');
    await refused(cluster, flow, await provider.browse(flow.url, 'alice'), /is locked: the user was deleted/);
  });

  test('a provider that is away is told to the page; the log-in stays open', async (t) => {
    const gone = await startOpenid({ redirectUrls: [callback('oidc')], people });
    const cluster = await open(t, connector({}, 'okta', gone));
    const flow = await TestSignOn.begin(cluster, 'okta');
    const query = await gone.browse(flow.url, 'alice');
    await gone.close();
    await assert.rejects(flow.complete(query), {
      kind: 'unavailable',
      message: /okta cannot be reached.*ECONNREFUSED/,
    });
    assert.match(String(cluster.last('T1001W')['error']), /cannot be reached/);
    assert.equal((await flow.result()).state, 'waiting');
    const body = { connector: 'okta', browser_log_in: flow.id, remote_addr: '198.51.100.9' };
    await putConnector(cluster, connector({ scope: ['email'] }, 'okta', gone));
    await assert.rejects(cluster.service.handlers.beginSso(call(body), cluster.as(proxy)), {
      kind: 'unavailable',
    });
  });

  test('a provider whose certificate nobody vouches for is not believed', async (t) => {
    const { issuer_ca: _, ...spec } = connector().spec;
    const cluster = await open(t, { ...connector(), spec });
    await assert.rejects(TestSignOn.begin(cluster, 'okta'), {
      kind: 'unavailable',
      message: /cannot be reached.*(certificate|UNABLE_TO)/,
    });
  });
});
