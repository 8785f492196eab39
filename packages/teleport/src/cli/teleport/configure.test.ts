import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { loadConfig } from '../../config/load-config.ts';
import { configureAction, nodeConfigureAction } from './configure.ts';

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sallyport-configure-'));
});
after(() => rm(folder, { recursive: true, force: true }));

async function written(name: string) {
  const path = join(folder, name);
  return { ...loadConfig(await readFile(path, 'utf8')), mode: (await stat(path)).mode & 0o777 };
}

test('a node that joins by a proxy runs the ssh service alone, with what the flags say', async () => {
  await nodeConfigureAction({
    token: '0123',
    proxy: 'proxy.example.com:443',
    caPin: ['sha256:aa', 'sha256:bb'],
    labels: ['env=prod', 'note=a: b #c'],
    nodename: 'web-1',
    dataDir: '/srv/teleport',
    enhancedRecording: true,
    output: `file://${join(folder, 'node.yaml')}`,
  });
  const { config, warnings, mode } = await written('node.yaml');
  assert.deepEqual(warnings, []);
  assert.equal(mode, 0o600, 'a token stands in it');
  assert.deepEqual(config.upstream, { kind: 'proxy', addresses: [{ host: 'proxy.example.com', port: 443 }] });
  assert.deepEqual(config.join, { method: 'token', token: '0123' });
  assert.deepEqual(config.caPins, ['sha256:aa', 'sha256:bb']);
  assert.deepEqual(config.ssh.labels, { env: 'prod', note: 'a: b #c' });
  assert.deepEqual([config.nodename, config.dataDir], ['web-1', '/srv/teleport']);
  assert.deepEqual([config.auth.enabled, config.ssh.enabled, config.proxy.enabled], [false, true, false]);
  assert.equal(config.ssh.enhancedRecording.enabled, true);
});

test('a node that joins by the auth service dials that', async () => {
  await nodeConfigureAction({ token: 't', authServer: 'auth', output: join(folder, 'auth.yaml') });
  const { config } = await written('auth.yaml');
  assert.deepEqual(config.upstream, { kind: 'auth', addresses: [{ host: 'auth', port: 3025 }] });
  assert.equal(config.ssh.enhancedRecording.enabled, false);
});

test('flags that make no sense write nothing', async () => {
  const output = join(folder, 'never.yaml');
  const wrong = [
    { proxy: 'p:1', authServer: 'a:1' },
    {},
    { proxy: 'https://p.example.com' },
    { proxy: 'p:1', labels: ['env'] },
  ];
  for (const flags of wrong) {
    await assert.rejects(nodeConfigureAction({ token: 't', output, ...flags }), { kind: 'bad_input' });
  }
  await assert.rejects(configureAction({ output, certFile: '/c.pem' }), { code: 'cli.half_keypair' });
  await assert.rejects(stat(output), { code: 'ENOENT' });
});

test('a file that is there is left as it is', async () => {
  const flags = { token: 't', proxy: 'p:1', output: join(folder, 'twice.yaml') };
  await nodeConfigureAction(flags);
  await assert.rejects(nodeConfigureAction({ ...flags, token: 'other' }), { kind: 'conflict' });
  assert.equal((await written('twice.yaml')).config.join?.token, 't');
});

test('the keys of a proxy with ACME are written and accepted, with the warning that nothing acts on them', async () => {
  const flags = { publicAddr: 'p.example.com:443', acme: true, acmeEmail: 'ops@example.com' };
  await configureAction({ ...flags, output: join(folder, 'acme.yaml') });
  const { config, warnings } = await written('acme.yaml');
  assert.deepEqual(config.proxy.acme, { enabled: true, email: 'ops@example.com' });
  assert.deepEqual(config.proxy.publicAddrs, ['p.example.com:443']);
  assert.deepEqual(
    warnings.map(({ key }) => key),
    ['proxy_service.acme'],
  );
});

test('a proxy with a certificate of its own shows that', async () => {
  const flags = { publicAddr: 'p.example.com:443', certFile: '/etc/tls/c.pem', keyFile: '/etc/tls/k.pem' };
  await configureAction({ ...flags, output: join(folder, 'tls.yaml') });
  const { config, warnings } = await written('tls.yaml');
  assert.deepEqual(config.proxy.httpsKeypairs, [{ keyFile: '/etc/tls/k.pem', certFile: '/etc/tls/c.pem' }]);
  assert.deepEqual(warnings, []);
});
