// The commands as an operator runs them: real processes, real files, OpenSSH's own tools as witnesses.
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmod,
  copyFile,
  cp,
  mkdir,
  mkdtemp,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Authorities } from '../ca/authorities.ts';
import { openHostUuid } from '../ca/host-uuid.ts';
import { parsePublicKeyLine } from '../ca/public-key.ts';
import { verifyUserCertificate } from '../ca/verify.ts';
import { loadConfig } from '../config/load-config.ts';

const bin = (name: string) => join(import.meta.dirname, '../../bin', name);
let dir: string;
let config: string;

/** What the first start of the auth service leaves behind. */
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'sallyport-cli-'));
  config = join(dir, 'teleport.yaml');
  const dataDir = join(dir, 'data');
  await writeFile(
    config,
    `teleport: {nodename: web-1, data_dir: ${dataDir}}\nauth_service: {cluster_name: prod}\n`,
  );
  await Authorities.open({ dataDir, clusterName: 'prod', create: true, now: () => new Date() });
  await openHostUuid(dataDir);
});
after(() => rm(dir, { recursive: true, force: true }));

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function exec(file: string, args: readonly string[], input = '', env: NodeJS.ProcessEnv = {}): Promise<Ran> {
  return new Promise((resolve) => {
    const child = execFile(
      file,
      args,
      { cwd: dir, env: { ...process.env, ...env } },
      (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr }),
    );
    child.stdin?.end(input);
  });
}
const tctl = (...args: string[]) => exec(bin('tctl'), ['-c', config, ...args]);

async function ok(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await tctl(...args);
  assert.equal(code, 0, `tctl ${args.join(' ')}: ${stderr}`);
  return stdout;
}

async function events(): Promise<Record<string, unknown>[]> {
  const text = await readFile(join(dir, 'data/log/events.log'), 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

test('a user is added, listed, changed and deleted, and the audit log has each step', async () => {
  assert.match(
    await ok('users', 'add', 'ana', '--logins=root,ubuntu', '--roles=access'),
    /User "ana" has been created/,
  );
  const listed = JSON.parse(await ok('users', 'ls', '--format=json'));
  assert.deepEqual(
    listed.map(({ name, logins }: { name: string; logins: string[] }) => [name, logins]),
    [['ana', ['root', 'ubuntu']]],
  );
  assert.match(await ok('users', 'ls'), /User +Roles +Logins\n-+ -+ -+\nana +access +root,ubuntu/);
  await ok('users', 'update', 'ana', '--set-logins=www');
  assert.match(await ok('get', 'user/ana'), /logins:\n +- www/);
  await ok('users', 'rm', 'ana');
  assert.deepEqual(
    // Certificates of a deleted user are refused by a lock, until the longest of them would have ended.
    (await events()).slice(-4).map(({ event }) => event),
    ['user.create', 'user.update', 'user.delete', 'lock.created'],
  );
});

test('auth sign writes what ssh needs, and says the command to use', async () => {
  await ok('users', 'add', 'signer', '--logins=root');
  const out = join(dir, 'identity');
  const printed = await ok('auth', 'sign', '--user=signer', `--out=${out}`, '--ttl=1h');
  assert.match(
    printed,
    /ssh -i \S+identity -o IdentitiesOnly=yes -o UserKnownHostsFile=\S+identity-known_hosts -p 3022 root@web-1/,
  );
  assert.equal((await stat(out)).mode & 0o777, 0o600);
  assert.match(
    execFileSync('ssh-keygen', ['-L', '-f', `${out}-cert.pub`], { encoding: 'utf8' }),
    /Key ID: "signer"/,
  );
  const trust = JSON.parse(await ok('get', 'cas', '--format=json'));
  const keysOf = (type: string): Buffer[] =>
    trust
      .find(({ metadata }: { metadata: { name: string } }) => metadata.name === type)
      .spec.ssh.map(parsePublicKeyLine);
  const blob = parsePublicKeyLine(await readFile(`${out}-cert.pub`, 'utf8'));
  const verdict = verifyUserCertificate({
    blob,
    trustedCas: keysOf('user'),
    login: 'root',
    now: new Date(),
    remoteAddress: '::1',
  });
  assert.ok(verdict.ok);
  const own = parsePublicKeyLine(execFileSync('ssh-keygen', ['-y', '-f', out], { encoding: 'utf8' }));
  assert.ok(own.equals(verdict.certificate.publicKey), 'key and certificate belong together');
  const [marker, pattern, ...key] = (await readFile(`${out}-known_hosts`, 'utf8')).split(' ');
  assert.deepEqual([marker, pattern], ['@cert-authority', '*']);
  assert.deepEqual([parsePublicKeyLine(key.join(' '))], keysOf('host'));
  assert.equal((await events()).at(-1)?.['event'], 'cert.create');
});

test('auth sign leaves files that are there alone, unless told otherwise', async () => {
  await ok('users', 'add', 'again', '--logins=root');
  const out = join(dir, 'twice');
  await ok('auth', 'sign', '--user=again', `--out=${out}`);
  const before = await readFile(out, 'utf8');
  const { code, stderr } = await tctl('auth', 'sign', '--user=again', `--out=${out}`);
  assert.deepEqual([code, await readFile(out, 'utf8')], [5, before]);
  assert.match(stderr, /exists already\.\n.*--overwrite/);
  await ok('auth', 'sign', '--user=again', `--out=${out}`, '--overwrite');
  assert.notEqual(await readFile(out, 'utf8'), before);
});

test('a role goes in as YAML and comes out as YAML', async () => {
  const role =
    'kind: role\nversion: v6\nmetadata: {name: bench}\nspec:\n  allow: {logins: [root], node_labels: {"*": "*"}}\n  options: {enhanced_recording: [disk]}\n';
  const created = await exec(bin('tctl'), ['-c', config, 'create'], role);
  assert.equal(created.code, 0, created.stderr);
  const again = await exec(bin('tctl'), ['-c', config, 'create'], role);
  assert.equal(again.code, 5);
  const printed = await ok('get', 'role/bench');
  assert.match(printed, /enhanced_recording:\n +- disk/);
  const roundTrip = await exec(bin('tctl'), ['-c', config, 'create', '-f'], printed);
  assert.equal(roundTrip.code, 0, roundTrip.stderr);
  await ok('rm', 'role/bench');
  assert.deepEqual(
    (await events()).slice(-3).map(({ event }) => event),
    ['role.created', 'role.updated', 'role.deleted'],
  );
});

test('a mistake in the last document of a file changes nothing', async () => {
  const good = 'kind: role\nmetadata: {name: half}\nspec: {}\n';
  const { code, stderr } = await exec(
    bin('tctl'),
    ['-c', config, 'create'],
    `${good}---\nkind: role\nmetadata: {name: "-"}\n`,
  );
  assert.equal(code, 2);
  assert.match(stderr, /stdin, document 2: metadata\.name/);
  assert.equal((await tctl('get', 'role/half')).code, 4);
});

test('ten tctl at once lose no user and no event', async () => {
  const names = Array.from({ length: 10 }, (_, i) => `many-${i}`);
  await Promise.all(names.map((name) => ok('users', 'add', name, '--logins=root')));
  const listed: { name: string }[] = JSON.parse(await ok('users', 'ls', '--format=json'));
  assert.deepEqual(
    names.filter((name) => !listed.some((user) => user.name === name)),
    [],
  );
  const created = new Set(
    (await events()).filter(({ event }) => event === 'user.create').map(({ name }) => name),
  );
  assert.deepEqual(
    names.filter((name) => !created.has(name)),
    [],
  );
});

test('status shows the authorities, and their fingerprints are those of ssh-keygen', async () => {
  const { authorities, cluster } = JSON.parse(await ok('status', '--format=json'));
  assert.equal(cluster, 'prod');
  for (const { ca, fingerprint } of authorities) {
    const printed = execFileSync('ssh-keygen', ['-l', '-f', join(dir, 'data/ca', `${ca}_ca.pub`)], {
      encoding: 'utf8',
    });
    assert.ok(printed.includes(fingerprint), ca);
  }
});

test('mistakes of the command line exit 2 and name where to read on', async () => {
  for (const args of [
    ['frobnicate'],
    ['users', 'add'],
    ['users', 'add', 'x'],
    ['users', 'ls', '--frmat=json'],
  ]) {
    const { code, stderr } = await tctl(...args);
    assert.equal(code, 2, args.join(' '));
    assert.match(stderr, /^error: .*\n\(run "tctl/, args.join(' '));
  }
  assert.equal((await tctl('users', 'ls', '--format=xml')).code, 2);
  assert.equal((await tctl('auth', 'sign', '--user=x', '--out=y', '--ttl=long')).code, 2);
});

test('each kind of error has its exit code, says what happened and what to do', async () => {
  const missing = await tctl('auth', 'sign', '--user=nobody', `--out=${join(dir, 'n')}`);
  assert.equal(missing.code, 4);
  assert.equal(missing.stderr, 'ERROR: There is no user "nobody".\n`tctl users ls` lists them.\n');
  const noFile = await exec(bin('tctl'), ['-c', '/nonexistent.yaml', 'status']);
  assert.equal(noFile.code, 4);
  await writeFile(join(dir, 'bad.yaml'), 'teleport:\n  data_dirr: /x\n');
  const bad = await exec(bin('tctl'), ['-c', 'bad.yaml', 'status']);
  assert.equal(bad.code, 2);
  assert.match(bad.stderr, /bad\.yaml:2:3: unknown key "data_dirr" in teleport; did you mean "data_dir"\?/);
  await writeFile(join(dir, 'node.yaml'), 'auth_service: {enabled: false}\n');
  assert.equal((await exec(bin('tctl'), ['-c', 'node.yaml', 'status'])).code, 8);
  const open = join(dir, 'data/ca/user_ca');
  await chmod(open, 0o644);
  const exposed = await tctl('status');
  await chmod(open, 0o600);
  assert.equal(exposed.code, 3);
  assert.match(exposed.stderr, /wider than 0600.*\n.*chmod 600/);
});

test('no colour reaches a pipe, and no result goes to stderr', async () => {
  const { stdout, stderr } = await tctl('users', 'ls');
  assert.equal(stdout.includes('\u001b'), false);
  assert.equal(stderr, '');
});

test('configure prints what loads, and writes no file over another', async () => {
  const printed = await exec(bin('teleport'), ['configure', '--cluster-name=c-1', '--nodename=n-1']);
  assert.equal(printed.code, 0, printed.stderr);
  assert.equal(loadConfig(printed.stdout).config.auth.clusterName, 'c-1');
  const file = join(dir, 'new.yaml');
  assert.equal((await exec(bin('teleport'), ['configure', '-o', file])).code, 0);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.equal((await exec(bin('teleport'), ['configure', '-o', file])).code, 5);
});

test('configure --test checks a file and names each warning with its place', async () => {
  const guide = join(import.meta.dirname, '../config/fixtures/guide-17.yaml');
  const { code, stdout, stderr } = await exec(bin('teleport'), ['configure', `--test=${guide}`]);
  assert.equal(code, 0, stderr);
  assert.equal(stdout, `${guide} is valid.\n`);
  assert.match(
    stderr,
    /guide-17\.yaml:5:3: warning: both auth_server \(line 5\) and proxy_server \(line 6\)/,
  );
});

test('start without an auth service, here or elsewhere, says what to set', async () => {
  const file = join(dir, 'lonely.yaml');
  await writeFile(
    file,
    `teleport: {data_dir: ${join(dir, 'lonely')}}\nauth_service: {enabled: false}\nproxy_service: {enabled: false}\n`,
  );
  const { code, stderr } = await exec(bin('teleport'), ['start', '-c', file]);
  assert.equal(code, 2);
  assert.match(stderr, /no other is named\.\n.*auth_server or .*proxy_server/);
});

for (const output of ['stderr', 'stdout', 'stdout, format: json'] as const) {
  test(`a daemon that logs to ${output} goes on when nobody reads it any more`, async () => {
    const folder = await mkdtemp(join(dir, 'unread-'));
    const file = join(folder, 'teleport.yaml');
    await writeFile(
      file,
      `teleport: {data_dir: ${folder}/data, log: {output: ${output}}}
auth_service: {cluster_name: prod, listen_addr: "127.0.0.1:0"}\nproxy_service: {enabled: false}\nssh_service: {enabled: false}\n`,
    );
    const daemon = spawn(bin('teleport'), ['start', '-c', file], { stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = once(daemon, 'exit');
    try {
      let said = '';
      await new Promise<void>((resolve, reject) => {
        void ended.then(() => reject(new Error(said)));
        for (const stream of [daemon.stdout, daemon.stderr]) {
          stream.on('data', (chunk) => {
            said += chunk;
            if (said.includes('the ssh service is off')) resolve();
          });
        }
      });
      daemon.stdout.destroy();
      daemon.stderr.destroy();
      // Each of these is told to the log: it cannot be used, so that the daemon stays the same.
      const good = join(folder, 'good.yaml');
      await copyFile(file, good);
      await writeFile(file, 'not: [valid');
      for (let i = 0; i < 3; i++) daemon.kill('SIGHUP');
      const { code, stderr } = await exec(bin('tctl'), ['-c', good, 'users', 'ls']);
      assert.equal(code, 0, stderr);
      assert.equal(daemon.exitCode ?? daemon.signalCode, null, 'it lives');
    } finally {
      daemon.kill('SIGTERM');
      assert.deepEqual(await ended, [0, null]);
    }
  });
}

test('doctor prints every condition and exits 1 exactly when one is missing', async () => {
  const { code, stdout } = await exec(bin('teleport'), ['doctor', '--format=json']);
  const report = JSON.parse(stdout);
  assert.equal(code, report.ok ? 0 : 1);
  assert.ok(report.conditions.length >= 6);
  for (const { ok: met, fix } of report.conditions)
    assert.equal(met, fix === '', 'what is missing has a fix');
  const text = await exec(bin('teleport'), ['doctor']);
  assert.match(text.stdout, /Condition +Found +Needed +OK/);
  assert.ok(report.hardening.length >= 12);
  for (const { closed, fix, why } of report.hardening) assert.ok(why !== '' && closed === (fix === ''));
  assert.match(text.stdout, /Way around the record +Found +Closed/);
});

test('start refuses a service it does not know before it touches anything', async () => {
  const { code, stderr } = await exec(bin('teleport'), ['start', '-c', config, '--roles=node,kube']);
  assert.equal(code, 2);
  assert.match(stderr, /"kube" is not a service/);
});

test('the programs run through a symbolic link, and say so when Node is too old', async () => {
  const link = join(dir, 'teleport');
  await symlink(bin('teleport'), link);
  assert.match((await exec(link, ['version'])).stdout, /^Sallyport teleport v\d+\.\d+\.\d+ node:v2[4-9]/);
  const text = await readFile(bin('teleport'), 'utf8');
  for (const other of ['tctl', 'tsh'])
    assert.equal(await readFile(bin(other), 'utf8'), text, 'one script, three names');
});

test('with an old Node and no toolchain the programs say what to install', async () => {
  const copy = join(dir, 'elsewhere/packages/teleport/bin');
  await mkdir(copy, { recursive: true });
  await cp(bin('tctl'), join(copy, 'tctl'));
  const old = join(dir, 'old-node');
  await mkdir(old);
  await writeFile(join(old, 'node'), '#!/bin/sh\necho v20.11.0\n', { mode: 0o755 });
  const { code, stderr } = await exec(join(copy, 'tctl'), ['status'], '', { PATH: `${old}:/usr/bin:/bin` });
  assert.equal(code, 8);
  assert.match(
    stderr,
    /tctl needs Node\.js 24 or newer; found \S+old-node\/node \(version 20\)\.\n.*make setup/,
  );
});

test('completion knows every command, in a shell that loads it', async () => {
  const { stdout } = await exec(bin('tctl'), ['completion', 'bash']);
  const asked = `${stdout}\nCOMP_WORDS=(tctl users '') COMP_CWORD=2; _tctl; echo "\${COMPREPLY[@]}"`;
  const words = (await exec('bash', ['-c', asked])).stdout.trim().split(' ');
  for (const word of ['add', 'update', 'ls', 'rm']) assert.ok(words.includes(word), word);
  for (const shell of ['zsh', 'fish'])
    assert.equal((await exec(bin('teleport'), ['completion', shell])).code, 0);
  assert.equal((await exec(bin('teleport'), ['completion', 'csh'])).code, 2);
});
