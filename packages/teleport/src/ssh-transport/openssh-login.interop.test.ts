// OpenSSH's own client as the witness of key exchange, host certificates and log-in.
import assert from 'node:assert/strict';
import { copyFileSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { CIPHERS, KEX, MACS } from './algorithms.ts';
import {
  blobOf,
  fileText,
  inFolder,
  KEY_TYPES,
  ssh,
  startTestServer,
  type TestServer,
} from './openssh.fixture.ts';

let ours: TestServer;
before(async () => {
  ours = await startTestServer();
});
after(() => ours.server.close('done'));

const certificateNames = {
  ed25519: ['ssh-ed25519-cert-v01@openssh.com'],
  ecdsa: ['ecdsa-sha2-nistp256-cert-v01@openssh.com'],
  rsa: ['rsa-sha2-512-cert-v01@openssh.com', 'rsa-sha2-256-cert-v01@openssh.com'],
};

for (const [type, names] of Object.entries(certificateNames)) {
  for (const name of names) {
    test(`ssh accepts our ${type} host certificate (${name}) through @cert-authority`, async () => {
      const options = [`HostKeyAlgorithms=${name}`, 'LogLevel=DEBUG1'];
      const run = await ssh({ port: ours.port, options }, 'echo', 'let', 'in');
      assert.equal(run.stdout, 'let in\n', run.stderr);
      assert.match(run.stderr, new RegExp(`kex: host key algorithm: ${name.replaceAll('.', '\\.')}`));
      assert.match(run.stderr, /Host '.*' is known and matches the .*-CERT host certificate/);
    });

    test(`a user is let in with a ${type} certificate (${name})`, async () => {
      // Without the plain name ssh finds the private key itself unfit.
      const options = [`PubkeyAcceptedAlgorithms=${name},${name.replace('-cert-v01@openssh.com', '')}`];
      const run = await ssh({ port: ours.port, key: `user_${type}`, options }, 'exit 0');
      assert.equal(run.code, 0, run.stderr);
      assert.deepEqual(ours.attempts.at(-1), {
        login: 'alice',
        algorithm: name,
        identity: `${type} certificate`,
      });
    });
  }
}

test('ssh refuses our host certificate when it trusts another authority', async () => {
  const run = await ssh({ port: ours.port, knownHosts: 'known_hosts_other' }, 'true');
  assert.equal(run.code, 255);
  assert.match(run.stderr, /Host key verification failed/);
});

for (const type of KEY_TYPES) {
  test(`a plain ${type} key works too, for host and user`, async () => {
    writeFileSync(inFolder(`plain_${type}`), `[127.0.0.1]:${ours.port} ${fileText(`host_${type}.pub`)}`);
    const call = { port: ours.port, key: `user_${type}`, certificate: 'none', knownHosts: `plain_${type}` };
    const options = [
      `HostKeyAlgorithms=${type === 'rsa' ? 'rsa-sha2-256' : blobOf(`host_${type}.pub`).toString('latin1', 4, type === 'ed25519' ? 15 : 23)}`,
    ];
    copyFileSync(inFolder(`user_${type}`), inFolder(`bare_${type}`));
    copyFileSync(inFolder(`user_${type}.pub`), inFolder(`bare_${type}.pub`));
    const run = await ssh({ ...call, key: `bare_${type}`, options }, 'exit 0');
    assert.equal(run.code, 0, run.stderr);
    assert.equal(ours.attempts.at(-1)?.identity, `${type} key`);
  });
}

for (const kex of KEX.filter((name) => !name.startsWith('mlkem'))) {
  test(`${kex} works with ssh`, async () => {
    const run = await ssh({ port: ours.port, options: [`KexAlgorithms=${kex}`] }, 'exit 5');
    assert.equal(run.code, 5, run.stderr);
  });
}

for (const cipher of CIPHERS) {
  for (const mac of cipher.endsWith('ctr') ? MACS : [MACS[0]]) {
    test(`${cipher} with ${mac} works with ssh`, async () => {
      const options = [`Ciphers=${cipher}`, `MACs=${mac}`];
      const run = await ssh({ port: ours.port, options }, 'head -c 300000 /dev/zero | tr "\\0" x');
      assert.equal(run.stdout.length, 300_000, run.stderr);
    });
  }
}

test('nothing weak is offered, and server-sig-algs is well formed', async () => {
  const { stderr } = await ssh({ port: ours.port, options: ['LogLevel=DEBUG3'] }, 'true');
  const offer = stderr.slice(stderr.indexOf('peer server KEXINIT proposal'));
  const lines = offer.split('\n').slice(0, 12).join('\n');
  assert.match(lines, /mlkem768x25519-sha256,curve25519-sha256/);
  assert.match(lines, /kex-strict-s-v00@openssh\.com/);
  assert.doesNotMatch(
    lines,
    /sha1|ssh-rsa[,\s]|ssh-dss|cbc|3des|arcfour|group1|group14|group-exchange|zlib|hmac-sha2-\d+[,\s]/,
  );
  const algorithms = /server-sig-algs=<([^>]*)>/.exec(stderr)?.[1]?.split(',');
  assert.deepEqual(algorithms?.toSorted(), [
    'ecdsa-sha2-nistp256',
    'ecdsa-sha2-nistp384',
    'ecdsa-sha2-nistp521',
    'rsa-sha2-256',
    'rsa-sha2-512',
    'ssh-ed25519',
  ]);
});

for (const option of [
  'KexAlgorithms=diffie-hellman-group14-sha256',
  'Ciphers=aes128-cbc',
  'HostKeyAlgorithms=ssh-rsa',
]) {
  test(`a client that can only ${option} is refused`, async () => {
    const run = await ssh({ port: ours.port, options: [option] }, 'true');
    assert.equal(run.code, 255);
  });
}

test('password and keyboard-interactive are never offered', async () => {
  const options = ['PreferredAuthentications=password,keyboard-interactive', 'LogLevel=DEBUG1'];
  const run = await ssh({ port: ours.port, options }, 'true');
  assert.equal(run.code, 255);
  assert.match(run.stderr, /Authentications that can continue: publickey\r?\n/);
});

test('an unknown key is refused with its reason told to us, not to the client', async () => {
  const run = await ssh({ port: ours.port, key: 'stranger', certificate: 'none' }, 'true');
  assert.equal(run.code, 255);
  assert.match(run.stderr, /Permission denied \(publickey\)/);
  assert.doesNotMatch(run.stderr, /unknown key/);
  const refusal = ours.refusals.find(({ kind }) => kind === 'denied');
  assert.equal(refusal?.reason, 'unknown key');
  assert.equal(refusal?.login, 'alice');
  assert.ok(refusal?.blob?.equals(blobOf('stranger.pub')));
});
