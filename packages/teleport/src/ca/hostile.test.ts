// Keys and signatures from hostile hands: whatever the bytes, an answer or a typed error, and never a crash.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AppError } from '@sallyport/contracts/errors.ts';
import fc from 'fast-check';
import { generateEd25519, readPrivateKey, writePrivateKey } from './openssh-private-key.ts';
import { parsePublicKey, parsePublicKeyLine, publicKeyBlob } from './public-key.ts';
import { KeySigner, verifySignature } from './signature.ts';
import { mpint, str, WireReader } from './wire.ts';

const key = generateEd25519();
const blob = publicKeyBlob(key);
const text = writePrivateKey(key, 'fuzz');

function isRefusal(run: () => unknown): boolean {
  try {
    run();
    return true;
  } catch (error) {
    return error instanceof AppError && (error.kind === 'bad_input' || error.kind === 'unsupported');
  }
}

test('public keys of random fields under each type name are keys or refused', () => {
  const type = fc.constantFrom(
    'ssh-ed25519',
    'ecdsa-sha2-nistp256',
    'ssh-rsa',
    'ssh-dss',
    'sk-ssh-ed25519@openssh.com',
  );
  const fields = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 4 });
  fc.assert(
    fc.property(type, fields, (name, parts) =>
      isRefusal(() =>
        parsePublicKey(Buffer.concat([str(name), ...parts.map((part) => str(Buffer.from(part)))])),
      ),
    ),
    { numRuns: 2000 },
  );
});

test('a point that is not on P-256 is refused', () => {
  const off = Buffer.concat([Buffer.of(4), Buffer.alloc(64, 1)]);
  const fake = Buffer.concat([str('ecdsa-sha2-nistp256'), str('nistp256'), str(off)]);
  assert.throws(() => parsePublicKey(fake), { code: 'ca.bad_encoding' });
});

test('RSA keys with an even modulus, exponent one or an endless exponent are refused', () => {
  const modulus = Buffer.alloc(256, 0xff);
  const rsa = (e: Buffer, n: Buffer) => Buffer.concat([str('ssh-rsa'), mpint(e), mpint(n)]);
  const even = Buffer.concat([modulus.subarray(1), Buffer.of(0xfe)]);
  const bad = [
    rsa(Buffer.of(1), modulus),
    rsa(Buffer.of(3), even),
    rsa(Buffer.alloc(9, 3), modulus),
    rsa(Buffer.of(3), Buffer.alloc(2048, 0xff)),
  ];
  for (const each of bad) assert.throws(() => parsePublicKey(each), { code: 'ca.bad_encoding' });
});

test('a changed signature never holds and never throws', async () => {
  const data = Buffer.from('data');
  const signature = await new KeySigner(key).sign(data);
  assert.equal(verifySignature(blob, signature, data), true);
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 120 }),
      (bytes) => !verifySignature(blob, Buffer.from(bytes), data),
    ),
    { numRuns: 2000 },
  );
  for (let bit = 0; bit < signature.length * 8; bit++) {
    const changed = Buffer.from(signature);
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    assert.equal(verifySignature(blob, changed, data), false, `bit ${bit}`);
  }
});

test('damaged private key files are refused with a typed error', () => {
  fc.assert(
    fc.property(fc.nat(text.length - 1), fc.string({ maxLength: 3 }), fc.nat(30), (at, insert, cut) =>
      isRefusal(() => readPrivateKey(text.slice(0, at) + insert + text.slice(at + cut))),
    ),
    { numRuns: 2000 },
  );
});

test('key lines are read or refused', () => {
  fc.assert(fc.property(fc.string(), (line) => isRefusal(() => parsePublicKeyLine(line))));
  assert.throws(() => parsePublicKeyLine(`ssh-rsa ${blob.toString('base64')}`), /does not match/);
});

test('an mpint reads back as it was written, and in one form only', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), (bytes) => {
      const plain = Buffer.from(bytes);
      const read = new WireReader(mpint(plain), 'test').mpint('n');
      assert.equal(BigInt(`0x${read.toString('hex') || '0'}`), BigInt(`0x${plain.toString('hex')}`));
      if (plain[0] !== 0) return;
      // Leading zeros that are not the sign byte would give one number two encodings.
      const padded = new WireReader(str(Buffer.concat([Buffer.of(0), plain])), 'test');
      assert.throws(() => padded.mpint('n'), /padded/);
    }),
  );
});
