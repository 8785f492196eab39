// The browser log-in whole: a real cluster, tsh as a process, Chromium with a security key made of software.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, type X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { connect } from 'node:tls';
import { type Browser, chromium, type Page } from 'playwright-core';
import { skip as notRoot, type Ran, run, TestCluster, tshProgram, until } from './cluster.fixture.ts';

const executablePath = '/usr/bin/chromium';
const skip = notRoot || (existsSync(executablePath) ? false : `no browser: ${executablePath} is missing`);
const password = 'correct horse battery';

/** tsh that waits for the browser. */
class Login {
  static readonly #all: Login[] = [];
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  #stdout = '';
  #stderr = '';

  constructor(cluster: TestCluster, user: string, ...flags: string[]) {
    const args = ['login', `--proxy=${cluster.proxy}`, `--user=${user}`, `--ca-pin=${cluster.pin}`, ...flags];
    this.#child = spawn(tshProgram, args, { stdio: 'pipe', env: cluster.env(user) });
    this.#child.stdout?.on('data', (bytes: Buffer) => {
      this.#stdout += bytes;
    });
    this.#child.stderr?.on('data', (bytes: Buffer) => {
      this.#stderr += bytes;
    });
    this.#ended = new Promise((done) => this.#child.once('close', done));
    Login.#all.push(this);
  }

  static killAll(): void {
    for (const login of Login.#all) login.kill();
  }

  type(text: string): void {
    this.#child.stdin?.write(text);
  }

  async said(): Promise<{ url: string; code: string }> {
    const [, url = '', code = ''] = await until(
      'tsh names address and code',
      () => /(https:\/\/\S+)\n[\s\S]*code (\S{9})\./.exec(this.#stderr) ?? undefined,
    ).catch(() => assert.fail(this.#stderr));
    return { url, code };
  }

  async end(): Promise<Ran> {
    const status = await this.#ended;
    return { status, stdout: this.#stdout, stderr: this.#stderr };
  }

  kill(): void {
    this.#child.kill();
  }
}

function leafOf(cluster: TestCluster): Promise<X509Certificate> {
  const [host, port] = cluster.proxy.split(':');
  return new Promise((done, failed) => {
    const socket = connect({ host: host ?? '', port: Number(port), rejectUnauthorized: false }, () => {
      const leaf = socket.getPeerX509Certificate();
      socket.destroy();
      if (leaf) done(leaf);
    }).once('error', failed);
  });
}

describe('tsh login with the browser', { skip, timeout: 150_000 }, () => {
  let keysOnly: TestCluster;
  let either: TestCluster;
  let browser: Browser;

  before(async () => {
    [keysOnly, either] = await Promise.all([
      TestCluster.start({ name: 'keys.test', secondFactor: 'webauthn', node: false }),
      TestCluster.start({ name: 'either.test', secondFactor: 'on', node: false }),
    ]);
    // Trusted by their keys: with errors merely ignored, a browser gives the page no security keys.
    const leaves = await Promise.all([keysOnly, either].map(leafOf));
    const pins = leaves.map(({ publicKey }) =>
      createHash('sha256')
        .update(publicKey.export({ type: 'spki', format: 'der' }))
        .digest('base64'),
    );
    browser = await chromium.launch({
      executablePath,
      args: [
        ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
        '--disable-background-networking',
        `--ignore-certificate-errors-spki-list=${pins.join(',')}`,
      ],
    });
  });
  after(async () => {
    Login.killAll();
    await browser?.close();
    await Promise.all([keysOnly?.remove(), either?.remove()]);
  });

  /** A page with a key in the machine's port, which goes on after sign-up. */
  async function newPage(): Promise<{ page: Page; problems: string[] }> {
    const page = await (await browser.newContext()).newPage();
    page.setDefaultTimeout(15_000);
    const problems: string[] = [];
    page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
    page.on('pageerror', (error) => problems.push(String(error)));
    const client = await page.context().newCDPSession(page);
    await client.send('WebAuthn.enable');
    await client.send('WebAuthn.addVirtualAuthenticator', {
      options: {
        ...{ protocol: 'ctap2', transport: 'usb', hasResidentKey: true, hasUserVerification: true },
        ...{ isUserVerified: true, automaticPresenceSimulation: true },
      },
    });
    return { page, problems };
  }

  async function signUp(cluster: TestCluster, name: string): Promise<Awaited<ReturnType<typeof newPage>>> {
    const opened = await newPage();
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
    const login = new Login(keysOnly, 'ana');
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
    const login = new Login(keysOnly, 'ben');
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
    const { page } = await newPage();
    await keysOnly.invite('cleo', 'root');
    const login = new Login(keysOnly, 'cleo');
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
    const login = new Login(either, 'dora', '--auth=browser');
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
    const login = new Login(either, 'eve');
    login.type(`${password}\n\n`);
    await page.goto((await login.said()).url);
    await page.getByLabel('Security key or passkey').check();
    await page.getByLabel('Password').fill(password);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('status').waitFor();
    assert.equal((await login.end()).status, 0);
  });

  test('gives the result to nobody who does not know the secret of tsh', async () => {
    const login = new Login(keysOnly, 'finn');
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
