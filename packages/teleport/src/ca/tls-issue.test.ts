import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { hostLeaf, hostUuid, openAuthorities, temporaryDirectory, userLeaf } from './authorities.fixture.ts';
import { readDer } from './der.ts';
import { generateTlsKey, spkiPem } from './host-keys.ts';
import { pinOf } from './pin.ts';
import { identityOid, identityUri, readTlsIdentity, type TlsClaims } from './tls-identity.ts';
import { issueHostTls, issueUserTls, splitNames } from './tls-issue.ts';
import { extension, subjectAltName, writeCertificate, writeName } from './x509-writer.ts';

const strict = ['verify', '-x509_strict', '-purpose'];

test('openssl, at its strictest, accepts host certificates as server and client, user ones as client only', async (t) => {
  const authorities = await openAuthorities(t);
  const directory = await temporaryDirectory(t);
  const write = async (name: string, text: string) => {
    await writeFile(join(directory, name), text);
    return join(directory, name);
  };
  const trust = authorities.trust();
  const hostCa = await write('host-ca.pem', trust.tls_host_cas.join(''));
  const userCa = await write('user-ca.pem', trust.tls_user_cas.join(''));
  const host = await write('host.pem', (await hostLeaf(authorities)).certPem);
  const user = await write('user.pem', (await userLeaf(authorities)).certPem);
  const verify = (purpose: string, ca: string, leaf: string) =>
    execFileSync('openssl', [...strict, purpose, '-CAfile', ca, leaf], { encoding: 'utf8', stdio: 'pipe' });
  assert.match(verify('sslserver', hostCa, host), /OK/);
  assert.match(verify('sslclient', hostCa, host), /OK/);
  assert.match(verify('sslclient', userCa, user), /OK/);
  assert.throws(() => verify('sslserver', userCa, user), /unsuitable certificate purpose|unsupported/);
  assert.throws(() => verify('sslclient', hostCa, user), /unable to get local issuer/);
  const names = execFileSync('openssl', ['x509', '-noout', '-ext', 'subjectAltName', '-in', host]).toString();
  assert.match(names, /URI:sallyport:\/\/prod\/host\//);
  assert.match(names, /DNS:node\.example\.com, IP Address:127\.0\.0\.1, IP Address:0:0:0:0:0:0:0:1/);
});

test('a library of others reads what we write, and finds the signatures good', async (t) => {
  const authorities = await openAuthorities(t, { clusterName: 'a,b=c #d "é"' });
  // Loaded here only: it wants the reflection of its decorators first.
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  const ca = new x509.X509Certificate(authorities.trust().tls_host_cas[0] ?? '');
  const leaf = new x509.X509Certificate((await hostLeaf(authorities)).certPem);
  assert.ok(await ca.isSelfSigned());
  assert.ok(await leaf.verify({ publicKey: await ca.publicKey.export(), signatureOnly: true }));
  assert.equal(leaf.issuer, ca.subject);
  assert.match(ca.subject, /é/);
});

test('what was written about a host or a user is read back', async (t) => {
  const authorities = await openAuthorities(t, { clusterName: 'prod eu/1' });
  const validBefore = new Date(Math.floor(Date.now() / 1000) * 1000 + 60_000);
  const host = await hostLeaf(authorities, { roles: ['node', 'proxy'], validBefore });
  const cluster = 'prod eu/1';
  assert.deepEqual(readTlsIdentity(host.certPem), {
    kind: 'host',
    cluster,
    hostUuid,
    roles: ['node', 'proxy'],
    validBefore,
  });
  const user = await userLeaf(authorities, { validBefore });
  const { raw, validFrom } = new X509Certificate(user.certPem);
  assert.deepEqual(readTlsIdentity(raw), {
    kind: 'user',
    cluster,
    user: 'alice@example.com',
    roles: ['access'],
    traits: { logins: ['root', 'alice'] },
    logins: ['alice'],
    mfaDevice: undefined,
    validAfter: new Date(validFrom),
    validBefore,
  });
});

test('any names, roles and traits survive the way through a certificate, and openssl parses it', async (t) => {
  const authorities = await openAuthorities(t);
  const key = spkiPem(generateTlsKey());
  const text = fc.string({ minLength: 1, maxLength: 40, unit: 'grapheme' });
  // A trait of this name is left out where objects are read: it would be the object's prototype.
  const trait = text.filter((name) => name !== '__proto__');
  await fc.assert(
    fc.asyncProperty(
      text,
      fc.array(text),
      fc.dictionary(trait, fc.array(text)),
      async (user, roles, traits) => {
        const certPem = await issueUserTls(authorities.active('user').tls, {
          publicKeyPem: key,
          cluster: user,
          user,
          roles,
          traits,
          logins: roles,
          validAfter: new Date(),
          validBefore: new Date(Date.now() + 60_000),
        });
        const identity = readTlsIdentity(certPem);
        assert.ok(identity?.kind === 'user');
        assert.deepEqual([identity.user, identity.roles, identity.logins], [user, roles, roles]);
        assert.deepEqual({ ...identity.traits }, { ...traits });
        new X509Certificate(certPem);
      },
    ),
    { numRuns: 100 },
  );
});

test('a certificate that says two things about its holder names nobody', async (t) => {
  const authorities = await openAuthorities(t);
  const { tls } = authorities.active('host');
  const claims: TlsClaims = { kind: 'host', cluster: 'prod', host_uuid: hostUuid, roles: ['node'] };
  const more: TlsClaims = { ...claims, roles: ['auth'] };
  const identity = (said: TlsClaims) => extension(identityOid, Buffer.from(JSON.stringify(said)));
  const names = (uri: string) => subjectAltName({ uri, dnsNames: [], ipAddresses: [] });
  const write = async (...extensions: Buffer[]) =>
    readTlsIdentity(
      await writeCertificate(tls, {
        serial: Buffer.of(1),
        issuer: writeName([]),
        subject: writeName([]),
        validAfter: new Date(0),
        validBefore: new Date(),
        publicKey: createPublicKey(spkiPem(generateTlsKey())).export({ type: 'spki', format: 'der' }),
        extensions,
      }),
    );
  const uri = identityUri(claims);
  assert.equal((await write(identity(claims), names(uri)))?.kind, 'host');
  assert.equal(await write(identity(claims), identity(more), names(uri)), undefined);
  assert.equal(await write(identity(claims), names(uri), names(uri)), undefined);
  assert.equal(
    await write(identity(claims), names(identityUri({ ...claims, cluster: 'staging' }))),
    undefined,
  );
  assert.equal(await write(identity(claims)), undefined);
  assert.equal(await write(names(uri)), undefined);
  assert.equal(await write(extension(identityOid, Buffer.from('{"kind":"host"}')), names(uri)), undefined);
});

test('lives that pass 2050 are written as RFC 5280 wants them', async (t) => {
  const authorities = await openAuthorities(t);
  const { certPem } = await hostLeaf(authorities, { validBefore: new Date('2051-02-03T04:05:06Z') });
  assert.equal(new Date(new X509Certificate(certPem).validTo).toISOString(), '2051-02-03T04:05:06.000Z');
});

test('only ECDSA P-256 keys are certified', async (t) => {
  const authorities = await openAuthorities(t);
  const request = {
    cluster: 'prod',
    hostUuid,
    roles: ['node'] as const,
    dnsNames: [],
    ipAddresses: [],
    validAfter: new Date(0),
    validBefore: new Date(),
  };
  const rsa = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
  for (const publicKeyPem of [spkiPem(rsa), spkiPem(p384), 'no key', '']) {
    const issuing = issueHostTls(authorities.active('host').tls, { ...request, publicKeyPem });
    await assert.rejects(issuing, { code: 'ca.bad_encoding', kind: 'bad_input' });
  }
  const publicKeyPem = spkiPem(generateTlsKey());
  const backwards = { ...request, publicKeyPem, validAfter: new Date(), validBefore: new Date(0) };
  await assert.rejects(issueHostTls(authorities.active('host').tls, backwards), { code: 'ca.bad_validity' });
});

test('names are split into what a certificate can hold, and any IP address is written as openssl reads it', async (t) => {
  assert.deepEqual(
    splitNames(['web-1', '10.0.0.1', '::1', 'fe80::1%eth0', 'a b', '', 'ü.de', '*.x.y', '-x']),
    {
      dnsNames: ['web-1', '*.x.y'],
      ipAddresses: ['10.0.0.1', '::1'],
    },
  );
  const authorities = await openAuthorities(t);
  const publicKeyPem = spkiPem(generateTlsKey());
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.ipV4(), fc.ipV6()), async (address) => {
      const certPem = await issueHostTls(authorities.active('host').tls, {
        publicKeyPem,
        cluster: 'prod',
        hostUuid,
        roles: [],
        dnsNames: [],
        ipAddresses: [address],
        validAfter: new Date(0),
        validBefore: new Date(),
      });
      assert.equal(new X509Certificate(certPem).checkIP(address), address);
    }),
    { numRuns: 50 },
  );
});

test('the pin is the one openssl makes of the key', async (t) => {
  const authorities = await openAuthorities(t);
  const ca = authorities.trust().tls_host_cas[0] ?? '';
  const spki = execFileSync('openssl', ['x509', '-noout', '-pubkey'], { input: ca });
  const der = execFileSync('openssl', ['pkey', '-pubin', '-outform', 'DER'], { input: spki });
  assert.equal(pinOf(ca), `sha256:${createHash('sha256').update(der).digest('hex')}`);
});

test('hostile bytes in the place of a certificate name nobody and throw nothing', async (t) => {
  const authorities = await openAuthorities(t);
  const good = new X509Certificate((await hostLeaf(authorities)).certPem).raw;
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
      assert.equal(readTlsIdentity(Buffer.from(bytes)), undefined);
    }),
  );
  const edit = fc.record({ at: fc.nat(good.length - 1), to: fc.nat(255) });
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), fc.nat(good.length), (edits, length) => {
      const bytes = Buffer.from(good.subarray(0, length % 3 === 0 ? length : good.length));
      for (const { at, to } of edits) if (at < bytes.length) bytes[at] = to;
      // Most edits break the signature only; the reader must hold out against all of them.
      const identity = readTlsIdentity(bytes);
      if (identity !== undefined) assert.ok(identity.kind === 'host' || identity.kind === 'user');
    }),
    { numRuns: 3000 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        const value = readDer(Buffer.from(bytes));
        assert.ok(value.raw.length <= bytes.length);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'ca.bad_encoding');
      }
    }),
    { numRuns: 2000 },
  );
});
