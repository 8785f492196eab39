// ssh-keygen is the judge: it reads what we issue, and we read what it signs, for every key type on either side.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { issueCertificate } from './issue.ts';
import { readPrivateKey, writePrivateKey } from './openssh-private-key.ts';
import { optionText, parseCertificate } from './parse-certificate.ts';
import { parsePublicKeyLine, publicKeyBlob, publicKeyLine } from './public-key.ts';
import { KeySigner, verifySignature } from './signature.ts';
import { verifyUserCertificate } from './verify.ts';

const keyTypes = ['ed25519', 'ecdsa', 'rsa'] as const;
let dir: string;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'sallyport-ca-'));
  for (const type of keyTypes) {
    const size = type === 'rsa' ? ['-b', '2048'] : [];
    for (const role of ['ca', 'user'])
      keygen('-q', '-t', type, ...size, '-N', '', '-C', 'c', '-f', path(role, type));
  }
});
after(() => rm(dir, { recursive: true, force: true }));

const path = (role: string, type: string) => join(dir, `${role}_${type}`);
const keygen = (...args: string[]) =>
  execFileSync('ssh-keygen', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const signer = (role: string, type: string) =>
  new KeySigner(readPrivateKey(readFileSync(path(role, type), 'utf8')));
const publicKey = (role: string, type: string) =>
  parsePublicKeyLine(readFileSync(`${path(role, type)}.pub`, 'utf8'));

for (const caType of keyTypes) {
  for (const subjectType of keyTypes) {
    test(`ssh-keygen prints a ${subjectType} certificate that our ${caType} CA issued`, async () => {
      const blob = await issueCertificate(signer('ca', caType), {
        type: 'user',
        publicKey: publicKey('user', subjectType),
        keyId: 'ana',
        principals: ['root', 'ubuntu'],
        serial: 42n,
        validAfter: new Date('2026-01-02T03:04:05Z'),
        validBefore: new Date('2036-01-02T03:04:05Z'),
        criticalOptions: { 'source-address': '10.0.0.0/8' },
        extensions: { 'permit-pty': '', 'roles@sallyport': '["access"]' },
      });
      const file = join(dir, `issued-${caType}-${subjectType}-cert.pub`);
      await writeFile(file, `${publicKeyLine(blob)}\n`);
      const printed = execFileSync('ssh-keygen', ['-L', '-f', file], {
        encoding: 'utf8',
        env: { ...process.env, TZ: 'UTC' },
      });
      const expected = [
        / user certificate/,
        /Key ID: "ana"/,
        /Serial: 42/,
        /Valid: from 2026-01-02T03:04:05 to 2036-01-02T03:04:05/,
        /Principals:\s+root\s+ubuntu/,
        /Critical Options:\s+source-address 10\.0\.0\.0\/8/,
        /Extensions:\s+permit-pty\s+roles@sallyport UNKNOWN OPTION/,
        ...(caType === 'rsa' ? [/Signing CA: .* \(using rsa-sha2-512\)/] : []),
      ];
      for (const pattern of expected) assert.match(printed, pattern);
    });

    test(`we verify a ${subjectType} certificate that ssh-keygen signed with a ${caType} CA`, () => {
      const options = [
        '-O',
        'extension:zz@x=later',
        '-O',
        'extension:aa@x=sooner',
        '-O',
        'source-address=127.0.0.0/8,::1/128',
      ];
      keygen(
        '-q',
        '-s',
        path('ca', caType),
        '-I',
        'ana',
        '-n',
        'root,ubuntu',
        '-z',
        '7',
        '-V',
        '-1h:+1h',
        ...options,
        `${path('user', subjectType)}.pub`,
      );
      const blob = parsePublicKeyLine(readFileSync(`${path('user', subjectType)}-cert.pub`, 'utf8'));
      const verdict = verifyUserCertificate({
        blob,
        trustedCas: [publicKey('ca', caType)],
        login: 'ubuntu',
        now: new Date(),
        remoteAddress: '::ffff:127.0.0.1',
      });
      assert.ok(verdict.ok, verdict.ok ? '' : verdict.reason);
      assert.equal(verdict.identity.user, 'ana');
      assert.equal(verdict.identity.certSerial, 7n);
      assert.deepEqual(verdict.identity.logins, ['root', 'ubuntu']);
      assert.equal(optionText(verdict.identity.extensions.get('aa@x') ?? Buffer.alloc(0), 'aa@x'), 'sooner');
      assert.ok(verdict.certificate.publicKey.equals(publicKey('user', subjectType)));
    });
  }
}

for (const type of keyTypes) {
  test(`ssh-keygen reads the ${type} private key file we write, and we read its`, async () => {
    const key = readPrivateKey(readFileSync(path('user', type), 'utf8'));
    const file = join(dir, `written_${type}`);
    await writeFile(file, writePrivateKey(key, 'a comment of odd length'), { mode: 0o600 });
    const printed = keygen('-y', '-f', file);
    assert.ok(parsePublicKeyLine(printed).equals(publicKey('user', type)));
    assert.ok(publicKeyBlob(readPrivateKey(readFileSync(file, 'utf8'))).equals(publicKey('user', type)));
  });

  test(`a ${type} signature holds over its data only, and with its key only`, async () => {
    const data = Buffer.from('session identifier');
    const signature = await signer('user', type).sign(data);
    assert.equal(verifySignature(publicKey('user', type), signature, data), true);
    assert.equal(verifySignature(publicKey('user', type), signature, Buffer.from('another')), false);
    for (const other of keyTypes)
      assert.equal(verifySignature(publicKey('ca', other), signature, data), false);
  });
}

test('a key with a passphrase is refused with the command that removes it', () => {
  const file = join(dir, 'locked');
  keygen('-q', '-t', 'ed25519', '-N', 'secret', '-f', file);
  assert.throws(() => readPrivateKey(readFileSync(file, 'utf8')), {
    code: 'ca.encrypted_key',
    hint: /ssh-keygen -p/,
  });
});

test('a certificate signed with SHA-1 by an RSA CA is refused', (t) => {
  try {
    keygen(
      '-q',
      '-s',
      path('ca', 'rsa'),
      '-t',
      'ssh-rsa',
      '-I',
      'ana',
      '-n',
      'root',
      `${path('user', 'ed25519')}.pub`,
    );
  } catch {
    t.skip('this ssh-keygen no longer signs with SHA-1');
    return;
  }
  const blob = parsePublicKeyLine(readFileSync(`${path('user', 'ed25519')}-cert.pub`, 'utf8'));
  const { signatureKey, signature, signedData } = parseCertificate(blob);
  assert.equal(verifySignature(signatureKey, signature, signedData), false);
});

test('a key of 1024 bits, of another curve or of DSA is not a public key to us', () => {
  for (const [name, args] of [
    ['rsa1024', ['-t', 'rsa', '-b', '1024']],
    ['p384', ['-t', 'ecdsa', '-b', '384']],
  ] as const) {
    const file = join(dir, name);
    keygen('-q', ...args, '-N', '', '-f', file);
    const blob = parsePublicKeyLine(readFileSync(`${file}.pub`, 'utf8'));
    assert.equal(verifySignature(blob, Buffer.alloc(80), Buffer.alloc(0)), false);
  }
});
