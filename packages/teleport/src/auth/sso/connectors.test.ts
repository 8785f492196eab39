import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { githubDocument, maskedSecret, oidcDocument } from '@sallyport/contracts/api/connectors.ts';
import type { ResourceDocument } from '@sallyport/contracts/api/resources.ts';
import { admin, type Cluster, openCluster, person } from '../auth-service.fixture.ts';

const oidc = {
  kind: 'oidc' as const,
  metadata: { name: 'corp' },
  spec: {
    issuer_url: 'https://login.example.com',
    client_id: 'sallyport',
    client_secret: 'the secret',
    redirect_url: 'https://proxy.example.com/v1/webapi/oidc/callback',
    claims_to_roles: [{ claim: 'groups', value: 'dev', roles: ['access'] }],
  },
};
const github = {
  kind: 'github' as const,
  metadata: { name: 'corp' },
  spec: {
    client_id: 'a',
    client_secret: 'another secret',
    redirect_url: 'https://proxy.example.com/v1/webapi/github/callback',
    teams_to_roles: [{ organization: 'acme', team: 'ops', roles: ['access'] }],
  },
};

function put(cluster: Cluster, body: ResourceDocument, mode: 'create' | 'upsert' = 'upsert') {
  const params = { kind: body.kind, name: body.metadata.name };
  return cluster.service.handlers.putResource({ params, query: { mode }, body }, cluster.as(admin));
}

const get = (cluster: Cluster, secrets: boolean) =>
  cluster.service.handlers.getResource(
    { params: { kind: 'oidc', name: 'corp' }, query: { secrets }, body: undefined },
    cluster.as(admin),
  );

async function open(t: TestContext): Promise<Cluster> {
  const cluster = await openCluster(t);
  await put(cluster, oidc);
  return cluster;
}

test('a connector is told, listed and deleted as other resources; its secret is shown when asked for only', async (t) => {
  const cluster = await open(t);
  const shown = await get(cluster, false);
  assert.ok(shown.kind === 'oidc');
  assert.equal(shown.spec.client_secret, maskedSecret);
  const whole = await get(cluster, true);
  assert.equal(whole.kind === 'oidc' && whole.spec.client_secret, 'the secret');
  for (const secrets of [false, true]) {
    const { resources } = await cluster.service.handlers.listResources(
      { params: { kind: 'oidc' }, query: { secrets }, body: undefined },
      cluster.as(admin),
    );
    assert.equal(JSON.stringify(resources).includes('the secret'), secrets);
  }
  await put(cluster, shown);
  const params = { kind: 'oidc' as const, name: 'corp' };
  await cluster.service.handlers.deleteResource(
    { params, query: undefined, body: undefined },
    cluster.as(admin),
  );
  assert.deepEqual(cluster.codes(), ['T8100I', 'T8102I', 'T8101I']);
  assert.doesNotMatch(JSON.stringify(cluster.events), /the secret/);
});

test('written back without its secret it keeps the one that is stored; a new one needs one', async (t) => {
  const cluster = await open(t);
  const { client_secret: _, ...spec } = oidc.spec;
  await put(cluster, { ...oidc, spec: { ...spec, display: 'Corporate' } });
  await put(cluster, { ...oidc, spec: { ...spec, client_secret: maskedSecret } });
  const whole = await get(cluster, true);
  assert.equal(whole.kind === 'oidc' && whole.spec.client_secret, 'the secret');
  await assert.rejects(put(cluster, { ...oidc, metadata: { name: 'new' }, spec }), {
    code: 'auth.bad_resource',
    message: /client_secret: is missing/,
  });
});

test('a name belongs to one connector, and there are so many at most', async (t) => {
  const cluster = await open(t);
  await assert.rejects(put(cluster, github), { kind: 'conflict' });
  await assert.rejects(put(cluster, oidc, 'create'), { kind: 'conflict' });
  for (let i = 1; i < 32; i++) await put(cluster, { ...github, metadata: { name: `github-${i}` } });
  await assert.rejects(put(cluster, { ...github, metadata: { name: 'one-more' } }), { kind: 'limit' });
});

test('people without the right neither write nor read one', async (t) => {
  const cluster = await open(t);
  const body = { kind: 'user' as const, metadata: { name: 'ana' }, spec: { roles: ['access'] } };
  await put(cluster, body);
  const params = { kind: 'oidc' as const, name: 'corp' };
  const as = cluster.as(person('ana'));
  const { handlers } = cluster.service;
  await assert.rejects(handlers.putResource({ params, query: {}, body: oidc }, as), { kind: 'denied' });
  await assert.rejects(handlers.getResource({ params, query: { secrets: true }, body: undefined }, as), {
    kind: 'denied',
  });
});

test('what goes to the network is https; http is for this host alone', () => {
  const takes = (issuer_url: string) =>
    oidcDocument.safeParse({ ...oidc, spec: { ...oidc.spec, issuer_url } }).success;
  for (const url of [
    'https://a.example',
    'https://a.example:8443/x/y',
    'http://localhost:1',
    'http://127.0.0.1/x',
  ])
    assert.ok(takes(url), url);
  for (const url of [
    ...[
      'http://a.example',
      'ftp://a',
      'https://',
      'https://a b',
      'https://user@a.example',
      'javascript:alert(1)',
    ],
    ...[
      'http://localhost.evil.example',
      'https://a.example/?x=1',
      'https://a.example/#x',
      'http://127.0.0.1.evil',
    ],
  ])
    assert.ok(!takes(url), url);
  const bad = { ...github, spec: { ...github.spec, endpoint_url: 'http://github.example.com' } };
  assert.equal(githubDocument.safeParse(bad).success, false);
});
