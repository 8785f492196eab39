import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Challenges } from './challenge.ts';
import type { Device } from './device.ts';
import { checkSecondFactor } from './second-factor.ts';
import { checkRegistration } from './webauthn.ts';

const now = new Date('2026-03-01T12:00:00Z');
const challenges = new Challenges(Buffer.alloc(32, 1), () => now);
const party = { id: 'example.com', name: 'test' };
const key: Device = {
  type: 'webauthn',
  id: 'd',
  name: 'key',
  credentialId: 'AAAA',
  publicKey: Buffer.alloc(77).toString('base64url'),
  counter: 0,
};
const totp: Device = {
  type: 'totp',
  id: 't',
  name: 'app',
  secret: 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP',
  lastStep: 0,
};
const modes = fc.constantFrom('otp' as const, 'webauthn' as const, 'on' as const, 'optional' as const);

/** Near enough to a browser's answer to get past the first looks. */
const clientData = fc
  .record({
    type: fc.constantFrom('webauthn.get', 'webauthn.create', 'x'),
    origin: fc.constantFrom('https://example.com', 'x'),
  })
  .map((data) => {
    const challenge = challenges.make({ purpose: 'webauthn log-in\0ana', ttlMs: 1000 }).toString('base64url');
    return Buffer.from(JSON.stringify({ ...data, challenge })).toString('base64url');
  });
const bytes = fc.oneof(fc.base64String(), fc.string(), fc.constant(undefined), fc.jsonValue());
const answer = fc.oneof(
  fc.dictionary(fc.string(), fc.jsonValue()),
  fc.record({
    id: fc.constantFrom('AAAA', 'BBBB'),
    rawId: fc.constantFrom('AAAA', 'BBBB'),
    type: fc.constantFrom('public-key', 'x'),
    response: fc.oneof(
      fc.jsonValue(),
      fc.record({
        clientDataJSON: clientData,
        authenticatorData: bytes,
        signature: bytes,
        attestationObject: bytes,
      }),
    ),
  }),
);

test('no answer of a browser, however odd, does more than fail', async () => {
  await fc.assert(
    fc.asyncProperty(answer, async (webauthn) => {
      const proof = { webauthn: webauthn as Record<string, unknown> };
      const devices = [key, totp];
      const checked = await checkSecondFactor({
        mode: 'on',
        party,
        user: 'ana',
        devices,
        proof,
        challenges,
        now,
      });
      assert.equal(checked.ok, false);
      const registered = await checkRegistration(party, proof.webauthn, Buffer.alloc(32), {
        id: 'd',
        name: 'k',
      });
      assert.equal(registered.ok, false);
    }),
    { numRuns: 300 },
  );
});

test('no text is a code by accident, and no mode lets somebody with a device in without one', async () => {
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.string(), fc.constant(undefined)), modes, async (otp, mode) => {
      const checked = await checkSecondFactor({
        mode,
        party,
        user: 'ana',
        devices: [totp],
        proof: otp === undefined ? {} : { otp },
        challenges,
        now,
      });
      assert.equal(checked.ok, false);
    }),
  );
});
