import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type IdentityClaims, identityToExtensions } from './identity-extensions.ts';
import { type CertificateRequest, issueCertificate } from './issue.ts';
import { generateEd25519 } from './openssh-private-key.ts';
import { parseCertificate } from './parse-certificate.ts';
import { publicKeyBlob } from './public-key.ts';
import { KeySigner } from './signature.ts';
import { type UserCertificateCheck, verifyHostCertificate, verifyUserCertificate } from './verify.ts';
import { str, WireReader } from './wire.ts';

const ca = new KeySigner(generateEd25519());
const now = new Date('2026-03-01T12:00:00Z');
const claims: IdentityClaims = {
  roles: ['access', 'ops'],
  kinds: ['command', 'disk'],
  lossPolicy: 'throttle',
  recordSession: 'best_effort',
  traits: { logins: ['root'], team: [] },
  portForwarding: false,
};
const request: CertificateRequest = {
  type: 'user',
  publicKey: publicKeyBlob(generateEd25519()),
  keyId: 'ana',
  principals: ['root'],
  validAfter: new Date('2026-03-01T11:00:00Z'),
  validBefore: new Date('2026-03-01T13:00:00Z'),
  extensions: identityToExtensions(claims),
};
const issue = (changes: Partial<CertificateRequest> = {}) => issueCertificate(ca, { ...request, ...changes });
const verify = (blob: Buffer, changes: Partial<UserCertificateCheck> = {}) =>
  verifyUserCertificate({
    blob,
    trustedCas: [ca.publicKey],
    login: 'root',
    now,
    remoteAddress: '192.0.2.1',
    ...changes,
  });

async function refused(
  reason: RegExp,
  issued: Partial<CertificateRequest>,
  check: Partial<UserCertificateCheck> = {},
) {
  const verdict = verify(await issue(issued), check);
  assert.equal(verdict.ok, false);
  assert.match(verdict.ok ? '' : verdict.reason, reason);
}

test('what was claimed when issuing comes back from a verified certificate', async () => {
  const verdict = verify(await issue());
  assert.ok(verdict.ok);
  const { portForwarding: _, ...carried } = claims;
  const { roles, kinds, lossPolicy, recordSession, traits } = verdict.identity;
  assert.deepEqual({ roles, kinds, lossPolicy, recordSession, traits }, carried);
  assert.equal(verdict.identity.validBefore?.toISOString(), '2026-03-01T13:00:00.000Z');
});

test('each reason to refuse is its own', async () => {
  await refused(/expired at 2026-03-01T13:00:00/, {}, { now: new Date('2026-03-01T13:00:00Z') });
  await refused(/not valid before 2026-03-01T11/, {}, { now: new Date('2026-03-01T10:59:59Z') });
  await refused(/login "ubuntu" is not among/, {}, { login: 'ubuntu' });
  await refused(/host certificate, not a user one/, { type: 'host' });
  await refused(/does not trust/, {}, { trustedCas: [] });
  await refused(/"force-command" is not supported/, { criticalOptions: { 'force-command': 'ls' } });
  await refused(/"x@y" is unknown/, { criticalOptions: { 'x@y': '' } });
  await refused(/may not be used from 192\.0\.2\.1/, { criticalOptions: { 'source-address': '10.0.0.0/8' } });
  await refused(/"source-address" is malformed/, { criticalOptions: { 'source-address': '10.0.0.0/99' } });
  await refused(/names no user/, { keyId: '' });
  await refused(/identity extension of the certificate is malformed/, {
    extensions: { 'roles@sallyport': '{"a":1}' },
  });
  await refused(/identity extension/, { extensions: { 'enhanced-recording@sallyport': '["everything"]' } });
});

test('the last second of a certificate still counts, the end does not', async () => {
  const blob = await issue();
  assert.equal(verify(blob, { now: new Date('2026-03-01T12:59:59.999Z') }).ok, true);
  assert.equal(verify(blob, { now: new Date('2026-03-01T13:00:00.000Z') }).ok, false);
});

test('a certificate is refused under another key of the same CA name', async () => {
  const other = new KeySigner(generateEd25519());
  assert.equal(verify(await issue(), { trustedCas: [other.publicKey] }).ok, false);
});

test('a certificate whose CA field was replaced by the trusted CA is a forgery', async () => {
  const attacker = new KeySigner(generateEd25519());
  const forged = await issueCertificate(
    { keyType: ca.keyType, publicKey: ca.publicKey, sign: (data) => attacker.sign(data) },
    request,
  );
  const verdict = verify(forged);
  assert.match(verdict.ok ? '' : verdict.reason, /does not hold/);
});

test('any changed byte makes a certificate fail, and none makes the verifier throw', async () => {
  const blob = await issue();
  for (let at = 0; at < blob.length; at++) {
    const changed = Buffer.from(blob);
    changed[at] = (changed[at] ?? 0) ^ 0x01;
    assert.equal(verify(changed).ok, false, `byte ${at}`);
  }
});

test('hostile bytes end in a verdict, whatever they are', async () => {
  const blob = await issue();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => !verify(Buffer.from(bytes)).ok),
    { numRuns: 2000 },
  );
  // Cut, repeated and spliced certificates reach deeper than noise does.
  fc.assert(
    fc.property(
      fc.nat(blob.length),
      fc.nat(blob.length),
      fc.uint8Array({ maxLength: 16 }),
      (from, to, middle) => {
        const spliced = Buffer.concat([blob.subarray(0, from), middle, blob.subarray(to)]);
        return spliced.equals(blob) || !verify(spliced).ok;
      },
    ),
    { numRuns: 5000 },
  );
});

test('hostile bytes make the parser throw nothing but a bad_input AppError', async () => {
  const blob = await issue();
  fc.assert(
    fc.property(fc.nat(blob.length - 1), fc.integer({ min: 0, max: 255 }), fc.nat(40), (at, value, cut) => {
      const changed = Buffer.from(blob.subarray(0, blob.length - cut));
      changed[Math.min(at, changed.length - 1)] = value;
      try {
        parseCertificate(changed);
        return true;
      } catch (error) {
        return error instanceof Error && 'kind' in error && error.kind === 'bad_input';
      }
    }),
    { numRuns: 5000 },
  );
});

test('options that are repeated or out of order are refused even when signed by the CA', async () => {
  for (const names of [
    ['b', 'a'],
    ['a', 'a'],
  ]) {
    const options = Buffer.concat(names.flatMap((name) => [str(name), str('')]));
    await assert.rejects(
      async () => parseCertificate(await withExtensions(options)),
      /out of order or repeated/,
    );
  }
});

test('a principal, a key id or an option with a NUL byte or broken UTF-8 is refused', async () => {
  await assert.rejects(issue({ keyId: 'ana\0root' }), /NUL/);
  await assert.rejects(issue({ principals: ['root\0'] }), /NUL/);
  const broken = Buffer.concat([str(Buffer.of(0xff, 0xfe)), str('')]);
  await assert.rejects(async () => parseCertificate(await withExtensions(broken)), /not UTF-8/);
});

test('we issue no certificate without principals and none that ends before it begins', async () => {
  await assert.rejects(issue({ principals: [] }), { code: 'ca.no_principals' });
  await assert.rejects(issue({ validBefore: request.validAfter }), { code: 'ca.bad_validity' });
});

test('a host certificate is good for its names only, whatever their case', async () => {
  const blob = await issue({ type: 'host', principals: ['node-1', '127.0.0.1'], extensions: {} });
  const check = (host: string) => verifyHostCertificate({ blob, trustedCas: [ca.publicKey], host, now }).ok;
  assert.equal(check('NODE-1'), true);
  assert.equal(check('127.0.0.1'), true);
  assert.equal(check('node-2'), false);
  const user = verifyHostCertificate({ blob: await issue(), trustedCas: [ca.publicKey], host: 'root', now });
  assert.match(user.ok ? '' : user.reason, /user certificate, not a host one/);
});

/** A certificate of our CA whose extensions are these bytes: what the issuer itself would not write. */
async function withExtensions(options: Buffer): Promise<Buffer> {
  const signed = parseCertificate(await issue({ extensions: {} })).signedData;
  const tail = Buffer.concat([str(''), str(''), str(ca.publicKey)]);
  assert.ok(signed.subarray(-tail.length).equals(tail));
  const data = Buffer.concat([signed.subarray(0, -tail.length), str(options), str(''), str(ca.publicKey)]);
  return Buffer.concat([data, str(await ca.sign(data))]);
}

test('a reader never takes a length for an allocation', () => {
  const reader = new WireReader(Buffer.from('ffffffff00', 'hex'), 'test');
  assert.throws(() => reader.bytes('field'), /runs past the end/);
});
