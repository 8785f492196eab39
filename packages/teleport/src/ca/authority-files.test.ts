// What lies in `<data_dir>/ca`, looked at with ssh-keygen and changed behind the service's back.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { openAuthorities, temporaryDirectory } from './authorities.fixture.ts';
import { Authorities } from './authorities.ts';
import { openHostUuid } from './host-uuid.ts';

test('the SSH authorities are keys that ssh-keygen reads, and two, not one', async (t) => {
  const dataDir = await temporaryDirectory(t);
  const authorities = await openAuthorities(t, { dataDir });
  const { user, host } = { user: authorities.active('user').ssh, host: authorities.active('host').ssh };
  assert.ok(!user.publicKey.equals(host.publicKey));
  for (const name of ['user_ca', 'host_ca']) {
    assert.equal((await stat(join(dataDir, 'ca', name))).mode & 0o777, 0o600);
    const printed = execFileSync('ssh-keygen', ['-l', '-f', join(dataDir, 'ca', name)], { encoding: 'utf8' });
    assert.match(printed, /ED25519/);
  }
});

test('ten services that start at once leave no other file', async (t) => {
  const dataDir = await temporaryDirectory(t);
  await Promise.all(Array.from({ length: 10 }, () => openAuthorities(t, { dataDir })));
  const ofType = (type: string) => [`${type}_ca`, `${type}_ca.pub`, `${type}_ca.tls`];
  const expected = ['authorities.json', ...ofType('host'), ...ofType('user')];
  assert.deepEqual((await readdir(join(dataDir, 'ca'))).sort(), expected);
});

test('a CA key that others may read is refused, and the message says how to go on', async (t) => {
  const dataDir = await temporaryDirectory(t);
  await openAuthorities(t, { dataDir });
  await chmod(join(dataDir, 'ca', 'user_ca'), 0o640);
  await assert.rejects(openAuthorities(t, { dataDir }), {
    code: 'ca.file_too_open',
    message: /user_ca: its mode is 0640, wider than 0600/,
    hint: /chmod 600 .*user_ca/,
  });
});

test('a CA key that is a symbolic link is refused', async (t) => {
  const dataDir = await temporaryDirectory(t);
  await openAuthorities(t, { dataDir });
  const path = join(dataDir, 'ca', 'user_ca');
  const elsewhere = join(dataDir, 'elsewhere');
  await writeFile(elsewhere, await readFile(path, 'utf8'), { mode: 0o600 });
  await rm(path);
  await symlink(elsewhere, path);
  await assert.rejects(openAuthorities(t, { dataDir }), {
    code: 'ca.file_unreadable',
    message: /symbolic link/,
  });
});

test('a damaged CA key is never replaced by a new one', async (t) => {
  const dataDir = await temporaryDirectory(t);
  await openAuthorities(t, { dataDir });
  const path = join(dataDir, 'ca', 'host_ca');
  await writeFile(path, 'damaged');
  await assert.rejects(openAuthorities(t, { dataDir }), { code: 'ca.bad_key_file', hint: /backup/ });
  assert.equal(await readFile(path, 'utf8'), 'damaged');
});

test('without leave to create, a missing CA is an error that says where it comes from', async (t) => {
  const dataDir = await temporaryDirectory(t);
  const opened = Authorities.open({ dataDir, clusterName: 'prod', create: false, now: () => new Date() });
  await assert.rejects(opened, { code: 'ca.no_key', hint: /teleport start/ });
});

test('an RSA key of the operator serves as CA', async (t) => {
  const dataDir = await temporaryDirectory(t);
  await openAuthorities(t, { dataDir });
  const path = join(dataDir, 'ca', 'user_ca');
  await rm(path);
  execFileSync('ssh-keygen', ['-q', '-t', 'rsa', '-b', '2048', '-N', '', '-f', `${path}.new`]);
  execFileSync('mv', [`${path}.new`, path]);
  const authorities = await openAuthorities(t, { dataDir });
  assert.equal(authorities.active('user').ssh.keyType, 'ssh-rsa');
});

test('a host keeps its uuid', async (t) => {
  const dataDir = await temporaryDirectory(t);
  const [first, ...others] = await Promise.all(Array.from({ length: 10 }, () => openHostUuid(dataDir)));
  assert.match(first ?? '', /^[0-9a-f-]{36}$/);
  assert.deepEqual(new Set(others), new Set([first]));
});
