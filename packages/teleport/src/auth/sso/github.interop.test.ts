// Log-in by GitHub against a server that speaks like it.
import assert from 'node:assert/strict';
import { after, before, describe, type TestContext, test } from 'node:test';
import type { GithubDocument } from '@sallyport/contracts/api/connectors.ts';
import { addUser, admin, type Cluster, openCluster } from '../auth-service.fixture.ts';
import { GithubServer, githubClient } from './github.fixture.ts';
import { readTeams } from './github.ts';
import { callback, putConnector, TestSignOn } from './sign-on.fixture.ts';

const octocat = { id: 583_231, login: 'Octocat', teams: ['Acme/Ops', 'acme/dev'] };

describe('log-in by GitHub', { timeout: 180_000 }, () => {
  let github: GithubServer;

  before(async () => {
    github = await GithubServer.start();
  });
  after(() => github?.close());

  function connector(changes: Partial<GithubDocument['spec']> = {}): GithubDocument {
    return {
      kind: 'github',
      metadata: { name: 'github' },
      spec: {
        client_id: githubClient.id,
        client_secret: githubClient.secret,
        redirect_url: callback('github'),
        endpoint_url: github.host.origin,
        teams_to_roles: [
          { organization: 'acme', team: 'ops', roles: ['ops'] },
          { organization: 'acme', team: 'admins', roles: ['editor'] },
        ],
        issuer_ca: github.host.ca,
        ...changes,
      },
    };
  }

  async function open(t: TestContext, document = connector()): Promise<Cluster> {
    github.person = octocat;
    github.apiStatus = 200;
    const cluster = await openCluster(t);
    const allow = { logins: ['{{external.github_login}}', 'deploy'], node_labels: { '*': '*' } };
    const body = { kind: 'role' as const, metadata: { name: 'ops' }, spec: { allow } };
    const params = { kind: 'role' as const, name: 'ops' };
    await cluster.service.handlers.putResource({ params, query: {}, body }, cluster.as(admin));
    await putConnector(cluster, document);
    cluster.codes();
    return cluster;
  }

  const begin = (cluster: Cluster) => TestSignOn.begin(cluster, 'github', 'github');

  async function refused(cluster: Cluster, reason: RegExp, alter = (query: string) => query): Promise<void> {
    const flow = await begin(cluster);
    const query = alter(await github.browse(flow.url));
    await assert.rejects(flow.complete(query), { message: reason });
    const event = cluster.last('T1001W');
    assert.match(String(event['error']), reason);
    assert.equal(event['method'], 'github');
    assert.doesNotMatch(JSON.stringify(cluster.events), /gho_|a-github-secret/);
  }

  test('gives the roles of the person’s teams, to a user for as long as the certificates live', async (t) => {
    const cluster = await open(t);
    const flow = await begin(cluster);
    const asked = new URL(flow.url).searchParams;
    assert.deepEqual(
      [asked.get('code_challenge_method'), asked.get('scope')],
      ['S256', 'read:org read:user'],
    );
    assert.deepEqual(await flow.complete(await github.browse(flow.url)), {
      user: 'Octocat',
      connector: 'github',
    });
    assert.deepEqual(cluster.codes(), ['T1002I', 'T1001I', 'TC000I']);
    const result = await flow.result();
    assert.ok(result.state === 'done');
    assert.deepEqual(result.certificates.roles, ['ops']);
    assert.deepEqual(result.certificates.logins, ['Octocat', 'deploy']);
    assert.deepEqual((cluster.last('T1001I')['attributes'] as Record<string, unknown>)['github_teams'], [
      'acme/dev',
      'acme/ops',
    ]);
  });

  test('reads teams page by page', async (t) => {
    const cluster = await open(t);
    const many = Array.from({ length: 230 }, (_, i) => `acme/team-${i}`);
    github.person = { ...octocat, teams: [...many, 'acme/ops'] };
    const flow = await begin(cluster);
    await flow.complete(await github.browse(flow.url));
    github.person = { ...octocat, teams: Array.from({ length: 1_200 }, (_, i) => `acme/team-${i}`) };
    await refused(cluster, /more than 1000 teams/);
  });

  test('refuses a person in none of the teams, one who pressed cancel, and a name that is taken', async (t) => {
    const cluster = await open(t);
    github.person = { ...octocat, teams: ['evil-acme/ops', 'acme/ops-visitors'] };
    await refused(cluster, /gives a role/);
    github.person = undefined;
    await refused(cluster, /access_denied \(The user has denied/);
    github.person = octocat;
    await addUser(cluster, 'Octocat');
    await refused(cluster, /a user of the cluster's own/);
  });

  test('refuses another person who took the name at GitHub', async (t) => {
    const cluster = await open(t);
    const flow = await begin(cluster);
    await flow.complete(await github.browse(flow.url));
    github.person = { ...octocat, id: 7 };
    await refused(cluster, /another person of github at the moment/);
  });

  test('refuses an altered code, a wrong secret, and an API that is out of order', async (t) => {
    const cluster = await open(t);
    await refused(cluster, /bad_verification_code/, (query) => query.replace(/code=\w/, 'code=x'));
    github.apiStatus = 500;
    await refused(cluster, /its API answers with status 500/);
    github.apiStatus = 200;
    await putConnector(cluster, connector({ client_secret: 'another' }));
    await refused(cluster, /incorrect_client_credentials/);
  });
});

test('a login at GitHub is no login here unless a role says so', () => {
  const { attributes } = readTeams({ teams_to_roles: [] }, { id: 1, login: 'root' }, []);
  assert.deepEqual(attributes, { github_login: ['root'] });
});
