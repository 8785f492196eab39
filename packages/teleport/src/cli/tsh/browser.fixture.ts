// tsh that waits for a browser, and the browser: Chromium, which trusts the servers of a test by their keys.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, type X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { connect } from 'node:tls';
import { type Browser, chromium, type Page } from 'playwright-core';
import { skip as notRoot, type Ran, type TestCluster, tshProgram, until } from './cluster.fixture.ts';

const executablePath = '/usr/bin/chromium';
export const skip =
  notRoot || (existsSync(executablePath) ? false : `no browser: ${executablePath} is missing`);

/** tsh that waits for the browser. */
export class Waiting {
  static readonly #all: Waiting[] = [];
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  #stdout = '';
  #stderr = '';

  /** `home`: whose folder of keys. */
  constructor(cluster: TestCluster, home: string, args: readonly string[], program = tshProgram) {
    this.#child = spawn(program, args, { stdio: 'pipe', env: cluster.env(home) });
    this.#child.stdout?.on('data', (bytes: Buffer) => {
      this.#stdout += bytes;
    });
    this.#child.stderr?.on('data', (bytes: Buffer) => {
      this.#stderr += bytes;
    });
    this.#ended = new Promise((done) => this.#child.once('close', done));
    Waiting.#all.push(this);
  }

  static killAll(): void {
    for (const each of Waiting.#all) each.kill();
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

export class Login extends Waiting {
  constructor(cluster: TestCluster, home: string, ...flags: string[]) {
    super(cluster, home, ['login', `--proxy=${cluster.proxy}`, `--ca-pin=${cluster.pin}`, ...flags]);
  }
}

export function leafOf(cluster: TestCluster): Promise<X509Certificate> {
  const [host, port] = cluster.proxy.split(':');
  return new Promise((done, failed) => {
    const socket = connect({ host: host ?? '', port: Number(port), rejectUnauthorized: false }, () => {
      const leaf = socket.getPeerX509Certificate();
      socket.destroy();
      if (leaf) done(leaf);
    }).once('error', failed);
  });
}

/** With errors merely ignored, a browser gives a page no security keys: so it trusts these by their keys. */
export async function launchBrowser(leaves: readonly X509Certificate[]): Promise<Browser> {
  const pins = leaves.map(({ publicKey }) =>
    createHash('sha256')
      .update(publicKey.export({ type: 'spki', format: 'der' }))
      .digest('base64'),
  );
  return chromium.launch({
    executablePath,
    args: [
      ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
      '--disable-background-networking',
      `--ignore-certificate-errors-spki-list=${pins.join(',')}`,
    ],
  });
}

export interface OpenPage {
  readonly page: Page;
  /** What went wrong in it. */
  readonly problems: readonly string[];
}

/** A page with a key in the machine's port, which goes on after sign-up. */
export async function newPage(browser: Browser): Promise<OpenPage> {
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
