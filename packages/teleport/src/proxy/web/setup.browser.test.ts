// The pages of one-time links in a real browser: without scripts, with them, and with a security key.
import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { after, before, test } from 'node:test';
import type { ClusterStatus } from '@sallyport/contracts/api/auth-routes.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { generateRegistrationOptions, verifyRegistrationResponse } from '@simplewebauthn/server';
import { generate, generateSecret, verify } from 'otplib';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { loadConfig } from '../../config/load-config.ts';
import { newTlsAuthority, tlsLeaf } from '../identity.fixture.ts';
import { silentLog } from '../log.fixture.ts';
import { WebCertificate } from '../web-certificate.ts';
import { ClusterSettings } from './cluster-settings.ts';
import { setupRoutes } from './setup-routes.ts';
import { createWebServer } from './web-server.ts';

const executablePath = '/usr/bin/chromium';
const skip = existsSync(executablePath) ? false : `no browser: ${executablePath} is missing`;
const version = '1.2.3';
const password = 'correct horse battery';
const status: ClusterStatus = {
  cluster_name: 'test.example',
  version,
  min_client_version: '1.0.0',
  ca_pins: [],
  auth: { type: 'local', second_factor: 'on', webauthn_rp_id: 'localhost' },
  session_recording: 'node',
};

/** What auth keeps of a link, checked by the libraries auth uses. */
interface Link {
  user: string;
  secondFactor: string;
  secret: string;
  challenge: string;
  redeemed:
    | { password: string | undefined; factor: 'totp' | 'webauthn'; device: string | undefined }
    | undefined;
}
const links = new Map<string, Link>();
function newLink(user: string, secondFactor = 'on'): string {
  const token = `token-${links.size}`;
  links.set(token, { user, secondFactor, secret: generateSecret(), challenge: '', redeemed: undefined });
  return token;
}

function linkOf(token: string): Link {
  const link = links.get(token);
  if (!link || link.redeemed)
    throw new AppError('denied', 'auth.bad_link', 'The link is not valid any more.');
  return link;
}

const api = {
  ping: async () => status,
  readInvite: async ({ body: { token } }: { body: { token: string } }) => {
    const link = linkOf(token);
    const { user, secondFactor, secret } = link;
    const webauthn = await generateRegistrationOptions({
      rpName: 'test.example',
      rpID: 'localhost',
      userName: user,
      attestationType: 'none',
    });
    link.challenge = webauthn.challenge;
    return {
      user,
      purpose: 'invite' as const,
      expires: '2030-01-02T03:04:05.000Z',
      second_factor: secondFactor,
      ...(secondFactor === 'webauthn'
        ? {}
        : { totp: { secret, url: `otpauth://totp/test:${user}?secret=${secret}&issuer=test` } }),
      ...(secondFactor === 'otp' ? {} : { webauthn: { ...webauthn } as Record<string, unknown> }),
    };
  },
  redeemInvite: async ({ body }: { body: Redeem }) => {
    const link = linkOf(body.token);
    const wrong = () => new AppError('denied', 'auth.bad_second_factor', 'The code is wrong.');
    if (body.webauthn) {
      const { verified } = await verifyRegistrationResponse({
        response: body.webauthn as unknown as Parameters<typeof verifyRegistrationResponse>[0]['response'],
        expectedChallenge: link.challenge,
        expectedOrigin: origin,
        expectedRPID: 'localhost',
        requireUserVerification: false,
      });
      if (!verified) throw wrong();
    } else if (!(await verify({ secret: link.secret, token: body.otp ?? '000000' })).valid) throw wrong();
    const factor = body.webauthn ? 'webauthn' : 'totp';
    link.redeemed = { password: body.password, factor, device: body.device_name };
    return { user: link.user };
  },
};
interface Redeem {
  token: string;
  password?: string | undefined;
  otp?: string | undefined;
  webauthn?: Record<string, unknown> | undefined;
  device_name?: string | undefined;
}

let origin = '';
const closing: (() => Promise<void>)[] = [];
let browser: Browser;

before(async () => {
  if (skip) return;
  const keyPair = await tlsLeaf(await newTlsAuthority(), ['localhost']);
  const settings = new ClusterSettings({
    api,
    proxy: loadConfig('').config.proxy,
    addresses: () => {
      const address = { host: '127.0.0.1', port: 1 };
      return { web: address, ssh: address, tunnel: address };
    },
    version,
    now: () => new Date(),
  });
  const web = await createWebServer({
    certificate: await WebCertificate.open([], keyPair, silentLog),
    strictTransport: false,
    version,
    requestsPerMinute: 1_000,
    attemptsPerMinute: 1_000,
    log: silentLog,
    routes: [setupRoutes({ api, settings })],
  });
  const server = createServer({ allowHalfOpen: true }, (socket) => web.accept(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  origin = `https://localhost:${(server.address() as { port: number }).port}`;
  // Trusted by its key: with errors merely ignored, a browser gives the page no security keys.
  const spki = new X509Certificate(keyPair.cert).publicKey.export({ type: 'spki', format: 'der' });
  browser = await chromium.launch({
    executablePath,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      `--ignore-certificate-errors-spki-list=${createHash('sha256').update(spki).digest('base64')}`,
    ],
  });
  closing.push(
    () => browser.close(),
    async () => void server.close(),
    () => web.close(),
  );
});
after(async () => {
  for (const close of closing) await close();
});

/** A page that fails the test when the browser reports anything: an error, a policy that was violated. */
async function open(
  path: string,
  options: BrowserContextOptions = {},
): Promise<{ page: Page; said: string[] }> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const said: string[] = [];
  page.on('console', (message) => message.type() === 'error' && said.push(message.text()));
  page.on('pageerror', (error) => said.push(String(error)));
  await page.goto(`${origin}${path}`);
  return { page, said };
}

async function fill(page: Page): Promise<void> {
  await page.getByLabel('Password, at least 12 characters').fill(password);
  await page.getByLabel('The same password again').fill(password);
}

const code = (token: string) => generate({ secret: links.get(token)?.secret ?? '' });

test('without scripts a person sets password and authenticator app', { skip }, async () => {
  const token = newLink('ana <b>');
  const { page, said } = await open(`/web/invite/${token}`, { javaScriptEnabled: false });
  assert.equal(await page.title(), 'Welcome to test.example');
  assert.ok(await page.getByRole('img', { name: /QR code/ }).isVisible());
  assert.equal(await page.locator('#secret').textContent(), links.get(token)?.secret);
  assert.ok(await page.getByText('ana <b>').isVisible(), 'a name is text, whatever it holds');
  await fill(page);
  await page.getByLabel('Code of six digits').fill(await code(token));
  await page.getByRole('button', { name: 'Set up' }).click();
  await page.getByRole('status').waitFor();
  assert.match((await page.locator('pre').textContent()) ?? '', /tsh login --proxy=localhost:\d+ --user=ana/);
  assert.deepEqual(links.get(token)?.redeemed?.factor, 'totp');
  assert.equal(links.get(token)?.redeemed?.password, password);
  assert.deepEqual(said, []);
});

test('a mistake brings the form back with what was wrong, and the same key', { skip }, async () => {
  const token = newLink('ben');
  const { page } = await open(`/web/invite/${token}`, { javaScriptEnabled: false });
  await fill(page);
  await page.getByLabel('The same password again').fill('something else entirely');
  await page.getByLabel('Code of six digits').fill('000000');
  await page.getByRole('button', { name: 'Set up' }).click();
  assert.equal(await page.getByRole('alert').textContent(), 'The two passwords differ.');
  await fill(page);
  await page.getByLabel('Code of six digits').fill('000000');
  await page.getByRole('button', { name: 'Set up' }).click();
  assert.equal(await page.getByRole('alert').textContent(), 'The code is wrong.');
  assert.equal(await page.locator('#secret').textContent(), links.get(token)?.secret);
});

test('a person registers a security key', { skip }, async () => {
  const token = newLink('cleo');
  const { page, said } = await open(`/web/invite/${token}`);
  await addAuthenticator(page);
  assert.ok(await page.getByLabel('Code of six digits').isVisible());
  await page.getByLabel('Security key or passkey').check();
  assert.equal(await page.getByLabel('Code of six digits').isVisible(), false);
  await page.getByLabel('Name of the key').fill('blue key');
  await fill(page);
  await page.getByRole('button', { name: 'Set up' }).click();
  await page.getByRole('status').waitFor();
  assert.deepEqual(links.get(token)?.redeemed, { password, factor: 'webauthn', device: 'blue key' });
  assert.deepEqual(said, []);
});

test('where only security keys are allowed nothing else is asked for', { skip }, async () => {
  const token = newLink('dora', 'webauthn');
  const { page, said } = await open(`/web/reset/${token}`);
  await addAuthenticator(page);
  assert.equal(await page.getByLabel('Code of six digits').count(), 0);
  await fill(page);
  await page.getByRole('button', { name: 'Set up' }).click();
  await page.getByRole('status').waitFor();
  assert.equal(links.get(token)?.redeemed?.factor, 'webauthn');
  assert.deepEqual(said, []);
});

test('a security key that was not touched is told, and the authenticator app is still there', {
  skip,
}, async () => {
  const token = newLink('eve');
  const { page } = await open(`/web/invite/${token}`);
  // As it ends when nobody touches the key: after a minute.
  await page.evaluate(
    `navigator.credentials.create = () => Promise.reject(new DOMException('too late', 'NotAllowedError'))`,
  );
  await page.getByLabel('Security key or passkey').check();
  await fill(page);
  await page.getByRole('button', { name: 'Set up' }).click();
  await page.locator('#key-problem').waitFor();
  await page.getByRole('radio', { name: 'Authenticator app' }).check();
  await page.getByLabel('Code of six digits').fill(await code(token));
  await page.getByRole('button', { name: 'Set up' }).click();
  await page.getByRole('status').waitFor();
  assert.equal(links.get(token)?.redeemed?.factor, 'totp');
});

test('a used or made-up link says so and shows nothing else', { skip }, async () => {
  const { page } = await open('/web/invite/made-up');
  assert.equal(await page.getByRole('heading').textContent(), 'This link cannot be used');
  assert.match((await page.getByRole('alert').textContent()) ?? '', /not valid any more/);
  assert.equal(await page.locator('form').count(), 0);
});

test('every field has a label, and the keyboard alone is enough', { skip }, async () => {
  const token = newLink('finn', 'otp');
  const { page } = await open(`/web/invite/${token}`);
  const unnamed = await page.evaluate(
    `[...document.querySelectorAll('input:not([type=hidden]):not([hidden])')].filter((i) => i.labels.length === 0).length`,
  );
  assert.equal(unnamed, 0);
  await page.getByLabel('Password, at least 12 characters').focus();
  await page.keyboard.type(password);
  await page.keyboard.press('Tab');
  await page.keyboard.type(password);
  await page.keyboard.press('Tab');
  await page.keyboard.type(await code(token));
  await page.keyboard.press('Enter');
  await page.getByRole('status').waitFor();
  assert.equal(links.get(token)?.redeemed?.factor, 'totp');
});

/** A security key made of software, touched at once. */
async function addAuthenticator(page: Page): Promise<void> {
  const client = await page.context().newCDPSession(page);
  await client.send('WebAuthn.enable');
  await client.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'usb',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
}
