// OpenSSH's own server and client as judges: sshd lets in who holds a certificate of our user CA, and ssh believes
// a host certificate of our host CA with strict checking. Root, because sshd changes to the user that logs in.
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { issueCertificate } from './issue.ts';
import { certAuthorityLine, trustedUserCaLine } from './known-hosts.ts';
import { generateEd25519, writePrivateKey } from './openssh-private-key.ts';
import { publicKeyBlob, publicKeyLine } from './public-key.ts';
import { KeySigner } from './signature.ts';

const skip = process.geteuid?.() !== 0 && 'needs root';
const make: Record<string, () => KeyObject> = {
  ed25519: generateEd25519,
  ecdsa: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  rsa: () => generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey,
};
const types = Object.keys(make);
const cas = new Map(types.map((type) => [type, new KeySigner(make[type]?.() ?? generateEd25519())]));
const hostCa = new KeySigner(generateEd25519());

let dir: string;
let port: number;
let sshd: ChildProcess | undefined;

before(async () => {
  if (skip) return;
  dir = await mkdtemp(join(tmpdir(), 'sallyport-sshd-'));
  // Debian's sshd wants its privilege separation folder; systemd makes it where there is a systemd.
  mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
  port = await freePort();
  const hostKey = generateEd25519();
  await writeFile(at('host'), writePrivateKey(hostKey, 'host'), { mode: 0o600 });
  const certificate = await issueCertificate(hostCa, {
    ...life(),
    type: 'host',
    publicKey: publicKeyBlob(hostKey),
    keyId: 'host',
    principals: ['127.0.0.1'],
  });
  await writeFile(at('host-cert.pub'), `${publicKeyLine(certificate)}\n`);
  await writeFile(
    at('trusted'),
    [...cas.values()].map((ca) => `${trustedUserCaLine(ca.publicKey, 'test')}\n`).join(''),
  );
  await writeFile(at('known_hosts'), `${certAuthorityLine(hostCa.publicKey, 'test')}\n`);
  const lines = [
    'ListenAddress 127.0.0.1',
    `Port ${port}`,
    `HostKey ${at('host')}`,
    `HostCertificate ${at('host-cert.pub')}`,
    `TrustedUserCAKeys ${at('trusted')}`,
  ];
  const rest = [
    'PidFile none',
    'UsePAM no',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'PermitRootLogin yes',
    'AuthorizedKeysFile none',
  ];
  await writeFile(at('sshd_config'), `${[...lines, ...rest].join('\n')}\n`);
  sshd = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', at('sshd_config')], { stdio: 'ignore' });
  await listening();
});
after(async () => {
  sshd?.kill();
  if (dir !== undefined) await rm(dir, { recursive: true, force: true });
});

for (const caType of types) {
  for (const keyType of types) {
    test(`sshd lets in a ${keyType} key certified by our ${caType} CA, and ssh believes our host CA`, {
      skip,
    }, async () => {
      const name = `user-${caType}-${keyType}`;
      await writeIdentity(name, caType, keyType, ['root']);
      assert.deepEqual(await ssh(name), { code: 0, stdout: 'in\n' });
    });
  }
}

test('sshd keeps out a certificate of ours for another login', { skip }, async () => {
  await writeIdentity('other', 'ed25519', 'ed25519', ['somebody']);
  assert.equal((await ssh('other')).code, 255);
});

const at = (name: string) => join(dir, name);
const life = () => ({
  validAfter: new Date(Date.now() - 60_000),
  validBefore: new Date(Date.now() + 3600_000),
});

async function writeIdentity(
  name: string,
  caType: string,
  keyType: string,
  principals: string[],
): Promise<void> {
  const key = make[keyType]?.() ?? generateEd25519();
  const ca = cas.get(caType) ?? hostCa;
  const blob = await issueCertificate(ca, {
    ...life(),
    type: 'user',
    publicKey: publicKeyBlob(key),
    keyId: 'ana',
    principals,
    extensions: { 'permit-pty': '', 'roles@sallyport': '["access"]' },
    criticalOptions: { 'source-address': '127.0.0.0/8' },
  });
  await writeFile(at(name), writePrivateKey(key, name), { mode: 0o600 });
  await writeFile(at(`${name}-cert.pub`), `${publicKeyLine(blob)}\n`);
}

function ssh(identity: string): Promise<{ code: number; stdout: string }> {
  const options = [
    'StrictHostKeyChecking=yes',
    `UserKnownHostsFile=${at('known_hosts')}`,
    'GlobalKnownHostsFile=none',
    'IdentitiesOnly=yes',
    'IdentityAgent=none',
    'BatchMode=yes',
  ];
  const args = [
    '-F',
    'none',
    '-p',
    String(port),
    '-i',
    at(identity),
    ...options.flatMap((option) => ['-o', option]),
    'root@127.0.0.1',
    'echo in',
  ];
  return new Promise((resolve) => {
    execFile('ssh', args, (error, stdout) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout }),
    );
  });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function listening(): Promise<void> {
  for (const deadline = performance.now() + 20_000; performance.now() < deadline; await delay(20)) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
    if (open) return;
  }
  const why = execFileSync('/usr/sbin/sshd', ['-t', '-f', at('sshd_config')], { encoding: 'utf8' });
  throw new Error(`sshd did not start: ${why}`);
}
