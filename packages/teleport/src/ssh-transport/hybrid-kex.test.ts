import assert from 'node:assert/strict';
import { createHash, createPrivateKey, createPublicKey, decapsulate, diffieHellman } from 'node:crypto';
import { test } from 'node:test';
import { MLKEM_CIPHERTEXT_BYTES, MLKEM_PUBLIC_BYTES, MlKem768X25519, X25519_BYTES } from './hybrid-kex.ts';

test('both ends come to the same 32 bytes, each time others', () => {
  const secrets = [1, 2, 3].map(() => {
    const [client, server] = [new MlKem768X25519(), new MlKem768X25519()];
    const offered = client.offer(false);
    const secret = server.secret(true, offered);
    const reply = server.offer(true);
    assert.equal(offered.length, MLKEM_PUBLIC_BYTES + X25519_BYTES);
    assert.equal(reply.length, MLKEM_CIPHERTEXT_BYTES + X25519_BYTES);
    assert.deepEqual(client.secret(false, reply), secret);
    assert.equal(secret.length, 32);
    return secret.toString('hex');
  });
  assert.equal(new Set(secrets).size, 3);
});

test('what is sent is what is hashed: an offer does not change when asked for again', () => {
  const client = new MlKem768X25519();
  assert.deepEqual(client.offer(false), client.offer(false));
});

test('the parts stand in the order of the draft, and K is SHA-256 over post-quantum, then classical', () => {
  // A client of the test's own, with keys made from fixed seeds (FIPS 203 d and z; RFC 7748 scalar).
  const seed = Buffer.from(Array.from({ length: 64 }, (_, n) => n));
  const scalar = Buffer.from(Array.from({ length: 32 }, (_, n) => 255 - n));
  const pkcs8 = (prefix: string, key: Buffer) =>
    createPrivateKey({ key: Buffer.concat([Buffer.from(prefix, 'hex'), key]), format: 'der', type: 'pkcs8' });
  // PKCS#8: ML-KEM-768 with the seed alone ([0] IMPLICIT, draft-ietf-lamps-kyber-certificates); X25519 (RFC 8410).
  const mlkem = pkcs8('3054020100300b06096086480165030404020442' + '8040', seed);
  const x25519 = pkcs8('302e020100300506032b656e04220420', scalar);
  const raw = (key: ReturnType<typeof createPublicKey>, length: number) =>
    key.export({ format: 'der', type: 'spki' }).subarray(-length);
  const mlkemPublic = raw(createPublicKey(mlkem), MLKEM_PUBLIC_BYTES);

  const server = new MlKem768X25519();
  const secret = server.secret(
    true,
    Buffer.concat([mlkemPublic, raw(createPublicKey(x25519), X25519_BYTES)]),
  );
  const reply = server.offer(true);
  const postQuantum = decapsulate(mlkem, reply.subarray(0, MLKEM_CIPHERTEXT_BYTES));
  const serverKey = Buffer.concat([
    Buffer.from('302a300506032b656e032100', 'hex'),
    reply.subarray(-X25519_BYTES),
  ]);
  const publicKey = createPublicKey({ key: serverKey, format: 'der', type: 'spki' });
  const classical = diffieHellman({ privateKey: x25519, publicKey });
  assert.deepEqual(secret, createHash('sha256').update(postQuantum).update(classical).digest());
});

test('malformed parts are refused', () => {
  const offered = new MlKem768X25519().offer(false);
  const refused = (isServer: boolean, bytes: Buffer) =>
    assert.throws(() => {
      const end = new MlKem768X25519();
      if (!isServer) end.offer(false);
      end.secret(isServer, bytes);
    });
  refused(true, Buffer.alloc(0));
  refused(true, offered.subarray(1));
  refused(true, Buffer.concat([offered, Buffer.alloc(1)]));
  refused(true, Buffer.concat([offered.subarray(0, -32), Buffer.alloc(32)])); // a low-order point
  refused(true, Buffer.concat([Buffer.alloc(MLKEM_PUBLIC_BYTES, 255), offered.subarray(-32)])); // coefficients ≥ q
  refused(false, Buffer.alloc(10));
  assert.throws(() => new MlKem768X25519().offer(true), /no client offer/);
});

test('a ciphertext that was tampered with gives another secret, silently (FIPS 203 implicit rejection)', () => {
  const [client, server] = [new MlKem768X25519(), new MlKem768X25519()];
  const secret = server.secret(true, client.offer(false));
  const reply = server.offer(true);
  reply[5] = (reply[5] ?? 0) ^ 1;
  assert.notDeepEqual(client.secret(false, reply), secret);
});
