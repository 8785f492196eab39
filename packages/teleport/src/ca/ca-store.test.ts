import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { openCaStore } from './ca-store.ts';
import { HostIdentity, openHostUuid } from './host-identity.ts';
import { parseCertificate } from './parse-certificate.ts';
import { verifyHostCertificate } from './verify.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'sallyport-castore-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

test('the CAs are made once, 0600, and are the same after a restart', async () => {
  const first = await openCaStore(dir, { create: true });
  const second = await openCaStore(dir, { create: true });
  assert.ok(first.user.publicKey.equals(second.user.publicKey));
  assert.ok(first.host.publicKey.equals(second.host.publicKey));
  assert.ok(!first.user.publicKey.equals(first.host.publicKey), 'two keys, not one');
  for (const name of ['user_ca', 'host_ca']) {
    assert.equal((await stat(join(dir, 'ca', name))).mode & 0o777, 0o600);
    const printed = execFileSync('ssh-keygen', ['-l', '-f', join(dir, 'ca', name)], { encoding: 'utf8' });
    assert.match(printed, /ED25519/);
  }
});

test('ten daemons that start at once agree on one key and leave no other file', async () => {
  const all = await Promise.all(Array.from({ length: 10 }, () => openCaStore(dir, { create: true })));
  const keys = new Set(all.map(({ user }) => user.publicKey.toString('hex')));
  assert.equal(keys.size, 1);
  assert.deepEqual((await readdir(join(dir, 'ca'))).sort(), [
    'host_ca',
    'host_ca.pub',
    'user_ca',
    'user_ca.pub',
  ]);
});

test('a CA key that others may read is refused, and the message says how to go on', async () => {
  await openCaStore(dir, { create: true });
  await chmod(join(dir, 'ca', 'user_ca'), 0o640);
  await assert.rejects(openCaStore(dir, { create: true }), {
    code: 'ca.file_too_open',
    message: /user_ca: its mode is 0640, wider than 0600/,
    hint: /chmod 600 .*user_ca/,
  });
});

test('a CA key that is a symbolic link is refused', async () => {
  await openCaStore(dir, { create: true });
  const path = join(dir, 'ca', 'user_ca');
  const text = await readFile(path, 'utf8');
  await rm(path);
  await writeFile(join(dir, 'elsewhere'), text, { mode: 0o600 });
  await symlink(join(dir, 'elsewhere'), path);
  await assert.rejects(openCaStore(dir, { create: true }), {
    code: 'ca.file_unreadable',
    message: /symbolic link/,
  });
});

test('a damaged CA key is never replaced by a new one', async () => {
  await openCaStore(dir, { create: true });
  const path = join(dir, 'ca', 'host_ca');
  await writeFile(path, 'damaged');
  await assert.rejects(openCaStore(dir, { create: true }), { code: 'ca.bad_key_file', hint: /backup/ });
  assert.equal(await readFile(path, 'utf8'), 'damaged');
});

test('without leave to create, a missing CA is an error that says where it comes from', async () => {
  await assert.rejects(openCaStore(dir, { create: false }), { code: 'ca.no_key', hint: /teleport start/ });
});

test('an RSA key of the operator serves as CA', async () => {
  await openCaStore(dir, { create: true });
  const path = join(dir, 'ca', 'user_ca');
  await rm(path);
  execFileSync('ssh-keygen', ['-q', '-t', 'rsa', '-b', '2048', '-N', '', '-f', `${path}.new`]);
  execFileSync('mv', [`${path}.new`, path]);
  assert.equal((await openCaStore(dir, { create: true })).user.keyType, 'ssh-rsa');
});

test('the host certificate names everything a client may dial', async () => {
  const { host } = await openCaStore(dir, { create: true });
  const identity = await open(host, new Date('2026-01-01T00:00:00Z'), ['node.example.com']);
  for (const name of [
    'web-1',
    identity.hostUuid,
    'localhost',
    '127.0.0.1',
    'web-1.prod',
    'node.example.com',
  ]) {
    const check = {
      blob: identity.certificate,
      trustedCas: [host.publicKey],
      host: name,
      now: new Date('2026-01-01T00:00:00Z'),
    };
    assert.deepEqual(verifyHostCertificate(check).ok, true, name);
  }
  assert.equal(await openHostUuid(dir), identity.hostUuid);
});

test('the host certificate is kept for half of its life, then renewed; new names renew it at once', async () => {
  const { host } = await openCaStore(dir, { create: true });
  let now = new Date('2026-01-01T00:00:00Z');
  const identity = await HostIdentity.open({
    dataDir: dir,
    ca: host,
    clusterName: 'prod',
    nodename: 'web-1',
    now: () => now,
  });
  const first = identity.certificate;
  now = new Date('2026-03-01T00:00:00Z');
  assert.equal(await identity.renew(), false);
  assert.ok((await open(host, now)).certificate.equals(first), 'a restart keeps it');
  now = new Date('2026-05-01T00:00:00Z');
  assert.equal(await identity.renew(), true);
  assert.ok(parseCertificate(identity.certificate).validBefore > parseCertificate(first).validBefore);
  const renamed = await open(host, now, ['other.example.com']);
  assert.ok(parseCertificate(renamed.certificate).principals.includes('other.example.com'));
});

function open(ca: Awaited<ReturnType<typeof openCaStore>>['host'], now: Date, names: string[] = []) {
  return HostIdentity.open({
    dataDir: dir,
    ca,
    clusterName: 'prod',
    nodename: 'web-1',
    names,
    now: () => now,
  });
}
