// Second factors as people use them: at each session, and alone. A real cluster with a node, tsh as a process, OpenSSH's
// own client, and Chromium with a security key made of software.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Browser } from 'playwright-core';
import { Login, launchBrowser, leafOf, newPage, type OpenPage, skip, Waiting } from './browser.fixture.ts';
import { Account, run, TestCluster } from './cluster.fixture.ts';

const password = 'correct horse battery';

// Side by side: most of their time they wait for the next one-time code.
describe('second factors', { skip, timeout: 220_000, concurrency: true }, () => {
  let cluster: TestCluster;
  let account: Account;
  let browser: Browser;
  let at: string;

  before(async () => {
    account = new Account('mfa');
    at = `${account.name}@node-1`;
    cluster = await TestCluster.start({ name: 'mfa.test', secondFactor: 'on' });
    await cluster.put({
      kind: 'role',
      metadata: { name: 'careful' },
      spec: {
        allow: { logins: ['{{internal.logins}}'], node_labels: { '*': '*' } },
        options: { require_session_mfa: true },
      },
    });
    browser = await launchBrowser([await leafOf(cluster)]);
  });
  after(async () => {
    Waiting.killAll();
    await browser?.close();
    await cluster?.remove();
    account?.remove();
  });

  test('a role can ask for a code at each session; the session names the device; ssh without tsh is refused', async () => {
    await cluster.person('alice', { logins: account.name, roles: 'careful' });
    assert.equal((await cluster.logIn('alice')).status, 0);
    assert.match((await cluster.tsh('alice', ['ls'])).stdout, /node-1/);
    const silent = await cluster.tsh('alice', ['ssh', at, 'true']);
    assert.equal(silent.status, 255);
    assert.match(silent.stderr, /OTP token for/);
    const refusals = await cluster.events('auth');
    assert.match(
      String(refusals.at(-1)?.['error']),
      /role careful asks for the second factor at each session/,
    );
    const wrong = await cluster.tsh('alice', ['ssh', at, 'true'], { input: '000000\n' });
    assert.equal(wrong.status, 255);
    assert.match(wrong.stderr, /second factor does not hold/);
    const { stdout, stderr, status } = await cluster.tsh('alice', ['ssh', at, 'echo $((6*7))'], {
      input: `${await cluster.code('alice')}\n`,
    });
    assert.deepEqual([status, stdout], [0, '42\n'], stderr);
    const [started] = (await cluster.events('session.start')).filter(({ user }) => user === 'alice');
    const [proven] = (await cluster.events('mfa_auth_challenge.validate')).filter(
      ({ code, user }) => code === 'T1016I' && user === 'alice',
    );
    const device = (proven?.['mfa_device'] as { mfa_device_uuid?: string } | undefined)?.mfa_device_uuid;
    assert.ok(device);
    assert.equal(started?.['with_mfa'], device);
    assert.equal(proven?.['subject'], at);

    // OpenSSH's own client cannot be asked, and is refused.
    const config = join(cluster.folder, 'ssh_config');
    await writeFile(config, (await cluster.tsh('alice', ['config'])).stdout);
    const ran = await run(
      'ssh',
      ['-F', config, '-o', 'BatchMode=yes', `${account.name}@node-1.mfa.test`, 'true'],
      {
        env: cluster.env('alice'),
      },
    );
    assert.equal(ran.status, 255);
    assert.match(ran.stderr, /Permission denied/);
  });

  async function signUp(name: string): Promise<OpenPage> {
    const opened = await newPage(browser);
    const { page } = opened;
    await page.goto(await cluster.invite(name, account.name, 'careful'));
    await page.getByLabel('Security key or passkey').check();
    await page.getByLabel('Password, at least 12 characters').fill(password);
    await page.getByLabel('The same password again').fill(password);
    await page.getByRole('button', { name: 'Set up' }).click();
    await page.getByRole('status').waitFor();
    return opened;
  }

  test('a security key answers in the browser, adds a passkey, and the passkey logs in by itself', async () => {
    const { page, problems } = await signUp('bea');
    const login = new Login(cluster, 'bea', '--user=bea', '--auth=browser');
    await page.goto((await login.said()).url);
    await page.getByLabel('Security key or passkey').check();
    await page.getByLabel('Password').fill(password);
    await page.getByRole('button', { name: 'Log in', exact: true }).click();
    await page.getByRole('status').waitFor();
    assert.equal((await login.end()).status, 0);

    const session = new Waiting(cluster, 'bea', ['ssh', at, 'echo touched']);
    const asked = await session.said();
    await page.goto(asked.url);
    assert.equal(await page.locator('#code').textContent(), asked.code);
    await page.getByText(at).waitFor();
    await page.getByRole('button', { name: 'Use the security key' }).click();
    await page.getByRole('status').waitFor();
    const touched = await session.end();
    assert.deepEqual([touched.status, touched.stdout], [0, 'touched\n'], touched.stderr);

    const adding = new Waiting(cluster, 'bea', [
      'mfa',
      'add',
      '--type=webauthn',
      '--allow-passwordless',
      '--name=laptop',
    ]);
    await page.goto((await adding.said()).url);
    await page.getByRole('button', { name: 'Add the security key' }).click();
    await page.getByRole('status').waitFor();
    const added = await adding.end();
    assert.equal(added.status, 0, added.stderr);
    const listed = await cluster.tsh('bea', ['mfa', 'ls']);
    assert.match(listed.stdout, /laptop +webauthn +yes/);

    await cluster.tsh('bea', ['logout']);
    const alone = new Login(cluster, 'bea', '--auth=passwordless');
    await page.goto((await alone.said()).url);
    await page.getByRole('button', { name: 'Continue with a passkey' }).click();
    await page.getByRole('status').waitFor();
    const passkey = await alone.end();
    assert.equal(passkey.status, 0, passkey.stderr);
    assert.match(passkey.stdout, /Logged in as: +bea/);
    const logins = (await cluster.events('user.login')).filter(({ user }) => user === 'bea');
    assert.equal(logins.at(-1)?.['method'], 'passwordless');
    assert.deepEqual(problems, []);
  });

  test('a key that was not set up to be enough does not log in by itself', async () => {
    const { page } = await signUp('cleo');
    const alone = new Login(cluster, 'cleo', '--auth=passwordless');
    await page.goto((await alone.said()).url);
    await page.getByRole('button', { name: 'Continue with a passkey' }).click();
    await page.locator('#passkey-problem').waitFor();
    alone.kill();
    await alone.end();
  });
});
