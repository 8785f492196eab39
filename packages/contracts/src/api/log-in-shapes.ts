// What people prove themselves with and what they get for it: shapes that several route tables share.
import { z } from 'zod';
import { resourceName } from './resource-parts.ts';

const pem = z.string().max(65_536);

export const trust = z.strictObject({
  cluster_name: z.string(),
  /** OpenSSH public key lines of every CA that is trusted now. */
  ssh_host_cas: z.array(z.string()),
  ssh_user_cas: z.array(z.string()),
  tls_host_cas: z.array(pem),
  tls_user_cas: z.array(pem),
});

/** What a user proves who they are with. The second factor's kinds exclude each other. */
export const logInProof = z.strictObject({
  /** Absent: a passkey that logs in by itself says who it is. */
  user: resourceName.optional(),
  password: z.string().max(1024).optional(),
  otp: z.string().max(16).optional(),
  /** The browser's PublicKeyCredential as JSON; its challenge is from `mfa.challenge`. */
  webauthn: z.record(z.string(), z.unknown()).optional(),
});

export const userCertificates = z.strictObject({
  user: z.string(),
  logins: z.array(z.string()),
  roles: z.array(z.string()),
  /** SSH wire blob. */
  ssh_certificate: z.base64().max(65_536),
  tls_certificate: pem,
  valid_before: z.iso.datetime(),
  trust,
});
