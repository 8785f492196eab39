import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { errorAnswer } from '@sallyport/contracts/api/error-answer.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { fastify } from 'fastify';
import type { PackagesConfig } from '../../config/config.ts';
import { silentLog } from '../log.fixture.ts';
import { type InstallOptions, installRoutes } from './install-routes.ts';
import { installScript, refusalScript } from './install-script.ts';
import type { WebApp } from './web-server.ts';

const folder = mkdtempSync(join(tmpdir(), 'sallyport-install-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const pem = String(publicKey.export({ type: 'spki', format: 'pem' }));
const keyFile = join(folder, 'release.pub');
writeFileSync(keyFile, pem);
const dir = join(folder, 'packages');
mkdirSync(join(dir, '1.2.3'), { recursive: true });
writeFileSync(join(dir, '1.2.3', 'SHA256SUMS'), 'sums\n');
writeFileSync(join(dir, 'outside'), 'secret');

const facts = {
  cluster: 'example.test',
  version: '1.2.3',
  proxy: 'proxy.example.test:443',
  source: 'https://proxy.example.test:443/packages',
  caPins: ['sha256:aa'],
  publicKey: pem,
  caCertificates: '',
};

function app(packages: Partial<PackagesConfig> = {}, changes: Partial<InstallOptions> = {}) {
  const server = fastify();
  server.setErrorHandler((error, request, reply) => {
    const { status, body } = errorAnswer(AppError.from(error), request.id);
    return reply.code(status).send(body);
  });
  installRoutes({
    config: {
      packages: { dir, mirror: undefined, keyFile, ...packages },
      publicAddrs: [],
      httpsKeypairs: [],
    },
    settings: { clusterName: async () => 'example.test' },
    trust: () => ({ tls_host_cas: [] }) as never,
    version: '1.2.3',
    log: silentLog,
    ...changes,
  })(server as unknown as WebApp);
  return server;
}

const script = async (server: ReturnType<typeof app>, host = 'proxy.example.test:3080') =>
  server.inject({ url: '/scripts/install.sh', headers: { host } });

test('the script names the cluster, its version and where the packages are', async () => {
  const { statusCode, headers, body } = await script(app());
  assert.equal(statusCode, 200);
  assert.match(String(headers['content-type']), /shellscript/);
  assert.match(body, /^CLUSTER='example\.test'\nCLUSTER_VERSION='1\.2\.3'\n/m);
  assert.match(body, /^SOURCE='https:\/\/proxy\.example\.test:3080\/packages'$/m);
  assert.ok(body.includes(`PUBLIC_KEY='${pem.trim()}'`));
  const mirrored = await script(app({ mirror: 'https://mirror.example.test/sp/' }));
  assert.match(mirrored.body, /^SOURCE='https:\/\/mirror\.example\.test\/sp'$/m);
});

test('a Host header that is no host gets no script, and what a shell is given instead only says so', async () => {
  for (const host of ["x'; touch /tmp/pwned; '", 'x$(id)', 'a b', '`id`', 'x/../y']) {
    const { statusCode, body } = await script(app(), host);
    assert.equal(statusCode, 503, host);
    const ran = spawnSync('sh', { input: body, encoding: 'utf8' });
    assert.equal(ran.status, 1);
    assert.match(ran.stderr, /does not say which host/);
  }
});

test('a proxy that knows no release key says so, in the words of a shell', async () => {
  for (const file of [join(folder, 'missing'), join(folder, 'private')]) {
    writeFileSync(join(folder, 'private'), String(privateKey.export({ type: 'pkcs8', format: 'pem' })));
    const { statusCode, body } = await script(app({ keyFile: file }));
    assert.equal(statusCode, 503);
    assert.ok(!body.includes('PRIVATE'));
    assert.match(spawnSync('sh', { input: body, encoding: 'utf8' }).stderr, /signature|public Ed25519 key/);
  }
});

test('whatever is put into the script is one word of it', () => {
  const odd = `it's "odd" $(id) \`id\` \\ \n @VERSION@`;
  const text = installScript({ ...facts, cluster: odd }).replace(/^main "\$@"$/m, 'printf %s "$CLUSTER"');
  assert.equal(execFileSync('sh', { input: text, encoding: 'utf8' }), odd);
  const refusal = refusalScript(new AppError('internal', 'x.y', odd, { hint: odd }));
  assert.match(spawnSync('sh', { input: refusal, encoding: 'utf8' }).stderr, /it's "odd" \$\(id\)/);
});

test('the script is right for sh and for bash, and a part of it does nothing', () => {
  const text = installScript(facts);
  for (const shell of ['sh', 'bash'])
    assert.equal(spawnSync(shell, ['-n'], { input: text }).status, 0, shell);
  // Each program it could call leaves a mark.
  const stubs = join(folder, 'stubs');
  const marks = join(folder, 'marks');
  mkdirSync(stubs);
  mkdirSync(marks);
  for (const name of [
    'curl',
    'wget',
    'id',
    'uname',
    'dpkg',
    'apt-get',
    'mktemp',
    'rm',
    'grep',
    'mkdir',
    'chmod',
    'tar',
  ]) {
    writeFileSync(join(stubs, name), `#!/bin/sh\n: >${marks}/${name}\nexit 1\n`);
    chmodSync(join(stubs, name), 0o755);
  }
  const run = (input: string) => spawnSync('/bin/sh', { input, env: { PATH: stubs }, encoding: 'utf8' });
  const end = text.lastIndexOf('main "$@"');
  for (let cut = 0; cut < end; cut += Math.ceil(end / 60)) {
    run(text.slice(0, cut));
    assert.deepEqual(readdirSync(marks), [], `cut at ${cut}`);
  }
  run(text);
  assert.notDeepEqual(readdirSync(marks), [], 'the whole of it does something');
});

test('packages are served from their folder and from nowhere else', async () => {
  const server = app();
  const sums = await server.inject('/packages/1.2.3/SHA256SUMS');
  assert.deepEqual([sums.statusCode, sums.body, sums.headers['content-length']], [200, 'sums\n', '5']);
  symlinkSync(join(dir, '1.2.3'), join(dir, '1.2.4'));
  assert.equal((await server.inject('/packages/1.2.4/SHA256SUMS')).statusCode, 200, 'an operator may link');
  for (const path of [
    '1.2.3/missing',
    '1.2.3/..%2Foutside',
    '..%2F/outside',
    '1.2.3/.',
    '1.2.3/%2e%2e',
    '1.2.3/a%00b',
    '9.9.9/SHA256SUMS',
    'x/outside',
  ]) {
    const { statusCode, body } = await server.inject(`/packages/${path}`);
    assert.equal(statusCode, 404, path);
    assert.ok(!body.includes('secret'), path);
  }
  mkdirSync(join(dir, '1.2.3', 'folder'));
  assert.equal((await server.inject('/packages/1.2.3/folder')).statusCode, 404);
});

test('the key is told in the form of ssh-keygen, too', async () => {
  const { body } = await script(app());
  const line = /^SSH_PUBLIC_KEY='(ssh-ed25519 [A-Za-z0-9+/=]+)'$/m.exec(body)?.[1] ?? '';
  const blob = Buffer.from(line.split(' ')[1] ?? '', 'base64');
  assert.equal(blob.subarray(-32).toString('base64url'), createPublicKey(pem).export({ format: 'jwk' }).x);
});
