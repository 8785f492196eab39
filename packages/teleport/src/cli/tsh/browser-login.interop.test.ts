// The browser log-in whole: a real cluster, tsh as a process, Chromium with a security key made of software.
import assert from 'node:assert/strict';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Browser } from 'playwright-core';
import { Login, launchBrowser, leafOf, newPage, type OpenPage, skip } from './browser.fixture.ts';
import { run, TestCluster } from './cluster.fixture.ts';

const password = 'correct horse battery';

describe('tsh login with the browser', { skip, timeout: 150_000 }, () => {
  let keysOnly: TestCluster;
  let either: TestCluster;
  let browser: Browser;

  before(async () => {
    [keysOnly, either] = await Promise.all([
      TestCluster.start({ name: 'keys.test', secondFactor: 'webauthn', node: false }),
      TestCluster.start({ name: 'either.test', secondFactor: 'on', node: false }),
    ]);
    browser = await launchBrowser(await Promise.all([keysOnly, either].map(leafOf)));
  });
  after(async () => {
    Login.killAll();
    await browser?.close();
    await Promise.all([keysOnly?.remove(), either?.remove()]);
  });

  async function signUp(cluster: TestCluster, name: string): Promise<OpenPage> {
    const opened = await newPage(browser);
    const { page } = opened;
    await page.goto(await cluster.invite(name, 'root'));
    if (cluster === either) await page.getByLabel('Security key or passkey').check();
    await page.getByLabel('Password, at least 12 characters').fill(password);
    await page.getByLabel('The same password again').fill(password);
    await page.getByRole('button', { name: 'Set up' }).click();
    await page.getByRole('status').waitFor();
    return opened;
  }

  test('is what happens where only security keys are allowed, and shows the code of the terminal', async () => {
    const { page, problems } = await signUp(keysOnly, 'ana');
    const login = new Login(keysOnly, 'ana', '--user=ana');
    const { url, code } = await login.said();
    await page.goto(url);
    assert.equal(await page.title(), 'Log in to keys.test');
    assert.equal(await page.locator('#code').textContent(), code);
    assert.equal(await page.getByLabel('User').inputValue(), 'ana');
    assert.equal(await page.getByLabel('Code of six digits').count(), 0);
    await page.getByLabel('Password').fill(password);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('status').waitFor();
    const { status, stdout, stderr } = await login.end();
    assert.equal(status, 0, stderr);
    assert.match(stdout, /Logged in as: +ana\n[\s\S]+Cluster: +keys\.test/);
    assert.deepEqual(problems, []);
    assert.equal((await keysOnly.tsh('ana', ['ls'])).status, 0, 'the certificates are for the keys of tsh');
    const [event] = await keysOnly.events('user.login');
    assert.equal(event?.['code'], 'T1000I');
    assert.match(String(event?.['user_agent']), /Chrom/);
    assert.ok(event?.['mfa_device'], 'the audit log names the key');
    await page.goto(url);
    assert.equal(await page.getByRole('heading').textContent(), 'This log-in cannot be completed');
  });

  test('tells a wrong password on the page and goes on with the same log-in', async () => {
    const { page } = await signUp(keysOnly, 'ben');
    const login = new Login(keysOnly, 'ben', '--user=ben');
    await page.goto((await login.said()).url);
    await page.getByLabel('Password').fill('not the password');
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('alert').and(page.getByText(/wrong/)).waitFor();
    await page.getByLabel('Password').fill(password);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('status').waitFor();
    assert.equal((await login.end()).status, 0);
  });

  test('without a key of the user says so and stays', async () => {
    const { page } = await newPage(browser);
    await keysOnly.invite('cleo', 'root');
    const login = new Login(keysOnly, 'cleo', '--user=cleo');
    await page.goto((await login.said()).url);
    await page.getByLabel('Password').fill(password);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.locator('#key-problem').waitFor();
    login.kill();
    await login.end();
  });

  test('is asked for by --auth=browser, and takes a one-time code without scripts', async () => {
    const { secret } = await either.person('dora');
    assert.notEqual(secret, '');
    // Whoever gets a copy of the database has no codes by it.
    const data = (name: string) => join(either.folder, 'data', name);
    const files = await Promise.all(
      ['backend.db', 'backend.db-wal'].map((name) => readFile(data(name)).catch(() => '')),
    );
    assert.ok(files.every((bytes) => !bytes.includes(secret)));
    assert.equal((await stat(data('store.key'))).mode & 0o777, 0o600);
    const login = new Login(either, 'dora', '--user=dora', '--auth=browser');
    const { url } = await login.said();
    const page = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
    await page.goto(url);
    await page.getByLabel('Password').fill('correct horse dora');
    await page.getByLabel('Code of six digits').fill(await either.code('dora'));
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('status').waitFor();
    assert.equal((await login.end()).status, 0);
  });

  test('takes over where a person has no code to type', async () => {
    const { page } = await signUp(either, 'eve');
    const login = new Login(either, 'eve', '--user=eve');
    login.type(`${password}\n\n`);
    await page.goto((await login.said()).url);
    await page.getByLabel('Security key or passkey').check();
    await page.getByLabel('Password').fill(password);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('status').waitFor();
    assert.equal((await login.end()).status, 0);
  });

  test('gives the result to nobody who does not know the secret of tsh', async () => {
    const login = new Login(keysOnly, 'finn', '--user=finn');
    const { url } = await login.said();
    const id = url.slice(url.lastIndexOf('/') + 1);
    const stolen = await fetchResult(keysOnly, id);
    assert.match(stolen, /"code":"auth\.no_log_in"/);
    login.kill();
    await login.end();
  });
});

async function fetchResult(cluster: TestCluster, id: string): Promise<string> {
  const { stdout } = await run('curl', [
    ...['-sk', '--max-time', '20', '-H', 'content-type: application/json', '-d', '{"secret":"a guess"}'],
    `https://${cluster.proxy}/webapi/cli/requests/${id}/result`,
  ]);
  return stdout;
}
