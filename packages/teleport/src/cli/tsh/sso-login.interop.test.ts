// `tsh login --auth=NAME` whole: a real cluster, a real OpenID provider, tsh as a process, and Chromium between them.
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { client, type OpenidServer, startOpenid } from '../../auth/sso/openid.fixture.ts';
import { Login, launchBrowser, leafOf, newPage, skip, Waiting } from './browser.fixture.ts';
import { TestCluster, tshProgram } from './cluster.fixture.ts';

const people = {
  alice: { email: 'alice@example.com', email_verified: true, groups: ['dev'] },
  carol: { email: 'carol@example.com', email_verified: true, groups: ['visitors'] },
  root: { email: 'root', email_verified: true, groups: ['dev'] },
};

describe('tsh login by an identity provider', { skip, timeout: 240_000 }, () => {
  let cluster: TestCluster;
  let provider: OpenidServer;
  let browser: Browser;

  before(async () => {
    cluster = await TestCluster.start({ name: 'sso.test', node: false });
    const redirect_url = `https://${cluster.proxy}/v1/webapi/oidc/callback`;
    provider = await startOpenid({ redirectUrls: [redirect_url], people });
    await cluster.put({
      kind: 'role',
      metadata: { name: 'dev' },
      spec: { allow: { logins: ['ubuntu'], node_labels: { '*': '*' } } },
    });
    await cluster.put({
      kind: 'oidc',
      metadata: { name: 'corp' },
      spec: {
        issuer_url: provider.origin,
        client_id: client.id,
        client_secret: client.secret,
        redirect_url,
        display: 'Corporate log-in',
        claims_to_roles: [{ claim: 'groups', value: 'dev', roles: ['dev'] }],
        issuer_ca: provider.ca,
      },
    });
    browser = await launchBrowser([await leafOf(cluster), new X509Certificate(provider.leafPem)]);
  });
  after(async () => {
    Login.killAll();
    await browser?.close();
    await Promise.all([provider?.close(), cluster?.remove()]);
  });

  async function signIn(page: Page, name: string): Promise<void> {
    await page.getByLabel('Name').fill(name);
    await page.getByRole('button', { name: 'Sign in' }).click();
  }

  test('goes to the provider and back, and leaves certificates and a user on its word', async () => {
    const { page, problems } = await newPage(browser);
    const login = new Login(cluster, 'alice', '--auth=corp');
    const { url, code } = await login.said();
    await page.goto(url);
    assert.equal(await page.locator('#code').textContent(), code);
    assert.equal(await page.getByLabel('Password').count(), 0, 'tsh was told which provider');
    await page.getByRole('button', { name: 'Continue with Corporate log-in' }).click();
    await page.waitForURL(`${provider.origin}/**`);
    await signIn(page, 'alice');
    await page.getByRole('status').waitFor();
    assert.match((await page.getByRole('status').textContent()) ?? '', /sso\.test as alice@example\.com/);
    const { status, stdout, stderr } = await login.end();
    assert.equal(status, 0, stderr);
    assert.match(stdout, /Logged in as: +alice@example\.com\n[\s\S]+Roles: +dev\n[\s\S]*Logins: +ubuntu/);
    assert.equal((await cluster.tsh('alice', ['ls'])).status, 0, 'the certificates are for the keys of tsh');
    const events = await cluster.events('user.login');
    assert.deepEqual(
      events.map(({ code: eventCode, method, connector, user }) => [eventCode, method, connector, user]),
      [['T1001I', 'oidc', 'corp', 'alice@example.com']],
    );
    assert.deepEqual(problems, []);
    // The way back, taken again.
    await page.goBack().catch(() => null);
    await page.goto(url);
    assert.equal(await page.getByRole('heading').textContent(), 'This log-in cannot be completed');
  });

  test('ends with the reason where the provider gives no role', async () => {
    const { page } = await newPage(browser);
    const login = new Login(cluster, 'carol', '--auth=corp');
    await page.goto((await login.said()).url);
    await page.getByRole('button', { name: 'Continue with Corporate log-in' }).click();
    await signIn(page, 'carol');
    await page
      .getByRole('alert')
      .and(page.getByText(/gives a role/))
      .waitFor();
    const { status, stderr } = await login.end();
    assert.equal(status, 3);
    assert.match(stderr, /nothing Corporate log-in says of "carol@example\.com" gives a role/);
    const [failed] = (await cluster.events('user.login')).filter(({ code }) => code === 'T1001W');
    assert.match(String(failed?.['error']), /gives a role/);
  });

  test('never becomes a local user of that name', async () => {
    await cluster.invite('root', 'root');
    const { page } = await newPage(browser);
    const login = new Login(cluster, 'root', '--auth=corp');
    await page.goto((await login.said()).url);
    await page.getByRole('button', { name: 'Continue with Corporate log-in' }).click();
    await signIn(page, 'root');
    await page.getByRole('alert').waitFor();
    const { status, stderr } = await login.end();
    assert.equal(status, 3);
    assert.match(stderr, /a user of the cluster's own/);
  });

  test('is offered on the page beside the password, and shows where to go with --browser=none', async () => {
    const { page } = await newPage(browser);
    const login = new Login(cluster, 'alice', '--auth=browser', '--browser=none');
    await page.goto((await login.said()).url);
    await page.getByLabel('Password').waitFor();
    await page.getByRole('button', { name: 'Continue with Corporate log-in' }).click();
    await signIn(page, 'alice');
    await page.getByRole('status').waitFor();
    assert.equal((await login.end()).status, 0);
  });

  test('says which providers there are when one is named that is none', async () => {
    const ran = await cluster.tsh('alice', [
      'login',
      `--proxy=${cluster.proxy}`,
      '--insecure',
      '--auth=okta',
    ]);
    assert.equal(ran.status, 2);
    assert.match(ran.stderr, /has no "okta"[\s\S]*local, browser, corp/);
  });

  test('a stolen address gives no certificates, and no other browser can come back', async () => {
    const thief = await newPage(browser);
    const owner = await newPage(browser);
    const login = new Login(cluster, 'alice', '--auth=corp');
    const { url } = await login.said();
    await owner.page.goto(url);
    await owner.page.getByRole('button', { name: 'Continue with Corporate log-in' }).click();
    await owner.page.waitForURL(`${provider.origin}/**`);
    const back = owner.page.waitForRequest(/webapi\/oidc\/callback/);
    await signIn(owner.page, 'alice');
    // Whoever sees the way back takes it in a browser of their own.
    await thief.page.goto((await back).url());
    await thief.page
      .getByRole('alert')
      .and(thief.page.getByText(/not the one that was sent/))
      .waitFor();
    await owner.page.getByRole('status').waitFor();
    assert.equal((await login.end()).status, 0);
  });

  test('tctl tries a connector before it is written, and never prints its secret unasked', async () => {
    const redirect_url = `https://${cluster.proxy}/v1/webapi/oidc/callback`;
    const yaml = await cluster.tctl(
      ...['sso', 'configure', 'oidc', '--name=trial', `--issuer-url=${provider.origin}`, `--id=${client.id}`],
      ...[`--secret=${client.secret}`, `--redirect-url=${redirect_url}`, '-r', 'groups,dev,dev,not-there'],
    );
    const file = join(cluster.folder, 'trial.yaml');
    await writeFile(file, `${yaml}  issuer_ca: ${JSON.stringify(provider.ca)}\n`);
    const args = ['-c', join(cluster.folder, 'teleport.yaml'), 'sso', 'test', file];
    const { page } = await newPage(browser);
    const trial = new Waiting(cluster, 'nobody', args, tshProgram.replace(/tsh$/, 'tctl'));
    await page.goto((await trial.said()).url);
    await page.getByRole('button', { name: 'Continue with trial, on trial' }).click();
    await signIn(page, 'alice');
    await page
      .getByRole('status')
      .and(page.getByText(/Nobody was logged in/))
      .waitFor();
    const { status, stdout, stderr } = await trial.end();
    assert.match(stdout, /user: alice@example\.com[\s\S]+roles:[\s\S]+- dev[\s\S]+groups:/);
    assert.equal(status, 3);
    assert.match(stderr, /would be refused: .*There is no role "not-there"\.\n/);
    assert.match(await cluster.tctl('get', 'oidc/corp'), /client_secret: ["']?\*{8}/);
    assert.doesNotMatch(await cluster.tctl('get', 'oidc'), new RegExp(client.secret));
    assert.match(await cluster.tctl('get', 'oidc/corp', '--with-secrets'), new RegExp(client.secret));
    const again = join(cluster.folder, 'corp.yaml');
    await writeFile(again, await cluster.tctl('get', 'oidc/corp'));
    await cluster.tctl('create', '-f', again);
    assert.match(await cluster.tctl('get', 'oidc/corp', '--with-secrets'), new RegExp(client.secret));
    await cluster.tctl('rm', 'oidc/corp');
    assert.equal((await cluster.events('oidc.deleted')).length, 1);
  });
});
