// Keys and signatures, with ssh-keygen as the witness.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { SIGNATURE_ALGORITHMS, signatureAlgorithm } from './algorithms.ts';
import { blobOf, fileText, folder, inFolder, KEY_TYPES, userKey } from './openssh.fixture.ts';
import { keyObject, plainKey, publicBlob, signature, verifySignature } from './public-key.ts';
import { privateKeyFrom } from './ssh2-protocol.ts';
import { encode, WireReader } from './wire.ts';

const keygen = (...args: string[]) =>
  execFileSync('ssh-keygen', args, { cwd: folder, stdio: 'pipe' }).toString();

for (const [type, bits] of [
  ['ed25519', '256'],
  ['ecdsa', '256'],
  ['ecdsa', '384'],
  ['ecdsa', '521'],
  ['rsa', '3072'],
] as const) {
  test(`a ${type} ${bits} key, its certificate and PEM form are what ssh-keygen says`, () => {
    const file = `pk_${type}_${bits}`;
    keygen('-q', '-t', type, '-b', bits, '-N', '', '-f', file);
    keygen('-q', '-s', 'user_ca', '-I', 'x', '-n', 'y', '-O', 'no-pty', `${file}.pub`);
    const blob = blobOf(`${file}.pub`);
    const key = privateKeyFrom(fileText(file));
    assert.deepEqual(publicBlob(key), blob);
    assert.deepEqual(plainKey(blob), blob);
    assert.deepEqual(plainKey(blobOf(`${file}-cert.pub`)), blob);
    const pem = key.export({ format: 'pem', type: 'pkcs8' });
    assert.deepEqual(publicBlob(privateKeyFrom(pem)), blob);
    const fingerprint = createHash('sha256').update(blob).digest('base64').replace(/=+$/, '');
    assert.match(keygen('-lf', `${file}.pub`), new RegExp(fingerprint.replace(/[+/]/g, '\\$&')));
  });
}

test('every algorithm signs and verifies, and no other key, data or algorithm passes', () => {
  for (const algorithm of SIGNATURE_ALGORITHMS.filter(({ keyType }) => !keyType.endsWith('nistp384'))) {
    const type = KEY_TYPES.find((name) => algorithm.keyType.includes(name));
    if (!type || algorithm.keyType.endsWith('521')) continue;
    const key = privateKeyFrom(fileText(`user_${type}`));
    const blob = blobOf(`user_${type}.pub`);
    const data = Buffer.from('what is signed');
    const signed = signature(algorithm, key, data);
    assert.ok(verifySignature(algorithm, blob, signed, data), algorithm.name);
    assert.ok(!verifySignature(algorithm, blob, signed, Buffer.from('what is Signed')));
    assert.ok(!verifySignature(algorithm, blobOf(`host_${type}.pub`), signed, data));
    assert.ok(!verifySignature(algorithm, blob, Buffer.concat([signed, Buffer.alloc(1)]), data));
    for (const other of SIGNATURE_ALGORITHMS) {
      if (other.signatureType !== algorithm.signatureType)
        assert.ok(!verifySignature(other, blob, signed, data));
    }
  }
});

test("OpenSSH's own signature is verified", () => {
  // `ssh-keygen -Y sign` signs "SSHSIG", namespace, reserved, hash name and hash (PROTOCOL.sshsig).
  for (const type of KEY_TYPES) {
    writeFileSync(inFolder('message'), 'hello');
    keygen('-q', '-Y', 'sign', '-n', 'test', '-f', `user_${type}`, 'message');
    const armored = fileText('message.sig')
      .split('\n')
      .filter((line) => !line.startsWith('-----'));
    const reader = new WireReader(Buffer.from(armored.join(''), 'base64'), 10);
    const [blob, , , hash, signed] = [0, 0, 0, 0, 0].map(() => reader.string());
    assert.ok(blob && hash && signed);
    const digest = createHash(hash.toString()).update('hello').digest();
    const data = Buffer.concat([Buffer.from('SSHSIG'), encode('test', '', hash, digest)]);
    const algorithm = signatureAlgorithm(new WireReader(signed).text());
    assert.ok(algorithm && verifySignature(algorithm, blob, signed, data), type);
  }
});

test('RSA keys below 2048 bits and points off the curve are no keys', () => {
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 });
  assert.equal(keyObject(publicBlob(weak.publicKey)), undefined);
  const fine = generateKeyPairSync('rsa', { modulusLength: 2048 });
  assert.ok(keyObject(publicBlob(fine.publicKey)));
  const point = Buffer.concat([Buffer.from([4]), Buffer.alloc(64, 1)]);
  assert.equal(keyObject(encode('ecdsa-sha2-nistp256', 'nistp256', point)), undefined);
  assert.equal(keyObject(encode('ecdsa-sha2-nistp256', 'nistp384', point)), undefined);
  assert.equal(keyObject(encode('ssh-ed25519', Buffer.alloc(31))), undefined);
});

test('no bytes make the parser or the verifier throw', () => {
  const seeds = KEY_TYPES.flatMap((type) => [blobOf(`user_${type}.pub`), userKey(type).certificate]);
  const mutated = fc
    .tuple(fc.constantFrom(...seeds), fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 8 }), fc.nat())
    .map(([seed, changes, cut]) => {
      const bytes = Buffer.from(seed);
      for (const [at, value] of changes) bytes[at % bytes.length] = value;
      return bytes.subarray(0, cut % 3 === 0 ? cut % bytes.length : bytes.length);
    });
  const anything = fc.oneof(
    mutated,
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
  );
  const algorithms = fc.constantFrom(...SIGNATURE_ALGORITHMS);
  fc.assert(
    fc.property(anything, anything, algorithms, (blob, signed, algorithm) => {
      const plain = plainKey(blob);
      if (plain) keyObject(plain);
      assert.equal(verifySignature(algorithm, plain ?? blob, signed, Buffer.from('x')), false);
    }),
    { numRuns: 500 },
  );
});
