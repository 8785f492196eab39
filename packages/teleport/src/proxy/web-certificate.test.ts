import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { newTlsAuthority, tlsLeaf } from './identity.fixture.ts';
import { silentLog } from './log.fixture.ts';
import type { TlsKeyPair } from './proxy.ts';
import { WebCertificate } from './web-certificate.ts';

const authority = await newTlsAuthority();
const own = await tlsLeaf(authority, ['own.test']);
const dir = await mkdtemp(join(tmpdir(), 'sallyport-web-certificate-'));
after(() => rm(dir, { recursive: true }));

async function files(name: string, pair: TlsKeyPair) {
  const [keyFile, certFile] = [join(dir, `${name}.key`), join(dir, `${name}.pem`)];
  await writeFile(keyFile, pair.key);
  await writeFile(certFile, pair.cert);
  return { keyFile, certFile };
}

test('without key pairs the host identity is shown, renewed without a restart', async () => {
  const certificate = await WebCertificate.open([], own, silentLog);
  assert.equal(certificate.default, own);
  const renewed = await tlsLeaf(authority, ['own.test']);
  certificate.setOwn(renewed);
  assert.equal(certificate.default, renewed);
  assert.equal(await certificate.reload(), false);
});

test('the pair that names the host is shown, the first one to everybody else', async () => {
  const a = await files('a', await tlsLeaf(authority, ['a.test']));
  const b = await files('b', await tlsLeaf(authority, ['*.b.test']));
  const certificate = await WebCertificate.open([a, b], own, silentLog);
  const first = certificate.contextFor(undefined);
  assert.equal(certificate.contextFor('a.test'), first);
  assert.equal(certificate.contextFor('unknown.test'), first);
  assert.notEqual(certificate.contextFor('x.b.test'), first);
});

test('changed files are taken, half-changed ones are not', async () => {
  const pair = await files('c', await tlsLeaf(authority, ['c.test']));
  const certificate = await WebCertificate.open([pair], own, silentLog);
  const before = certificate.default;
  assert.equal(await certificate.reload(), false);
  const next = await tlsLeaf(authority, ['c.test']);
  await writeFile(pair.certFile, next.cert);
  assert.equal(await certificate.reload(), false);
  assert.equal(certificate.default, before);
  await writeFile(pair.keyFile, next.key);
  assert.equal(await certificate.reload(), true);
  assert.equal(certificate.default.cert, next.cert);
});

test('a pair that cannot be used stops the start and names its file', async () => {
  const wrong = await files('d', { key: own.key, cert: (await tlsLeaf(authority, ['d.test'])).cert });
  await assert.rejects(
    WebCertificate.open([wrong], own, silentLog),
    /d\.pem: not a certificate with its private/,
  );
  const missing = { keyFile: join(dir, 'none.key'), certFile: wrong.certFile };
  await assert.rejects(WebCertificate.open([missing], own, silentLog), { code: 'proxy.bad_keypair' });
});
