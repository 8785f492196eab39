// The part of auth's API by which people who are logged in prove their second factor anew, for one session, and look
// after their second factors. Security keys are reached from a browser only: for them there are tasks, which wait in
// auth's store for a page of the proxy.
import { z } from 'zod';
import { route } from './route.ts';

const self = { user: true } as const;
const proxyOnly = { host: ['proxy'] } as const;
const json = z.record(z.string(), z.unknown());
const taskId = z.string().regex(/^[\w-]{1,64}$/);
const sshKey = z.base64().max(65_536);
const otp = z.string().max(16);
const deviceName = z.string().regex(/^[^\p{Cc}]{1,64}$/u, 'must be 1 to 64 letters');

export const mfaDevice = z.strictObject({
  id: z.uuid(),
  name: z.string(),
  type: z.enum(['totp', 'webauthn']),
  /** Logs in by itself, without name and password. */
  passwordless: z.boolean().optional(),
  added: z.iso.datetime().optional(),
});

const session = z.strictObject({
  /** Name or uuid. */
  node: z.string().min(1).max(255),
  login: z.string().min(1).max(255),
  ssh_public_key: sshKey,
});

const sessionCertificate = z.strictObject({ ssh_certificate: sshKey, valid_before: z.iso.datetime() });

/** What waits for a browser. */
export const mfaTask = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('session'), ...session.shape }),
  z.strictObject({
    type: z.literal('add_device'),
    name: deviceName,
    /** Shall log in by itself: the key must know its owner, and keep the account. */
    passwordless: z.boolean(),
    /** Of an authenticator app, where the user has one: proves that it is the user who adds. */
    otp: otp.optional(),
  }),
  /** An authenticator app, for somebody who has a key to prove and no app yet. */
  z.strictObject({ type: z.literal('add_app'), name: deviceName }),
  z.strictObject({ type: z.literal('remove_device'), name: z.string().min(1).max(64) }),
]);

const newApp = z.strictObject({
  id: taskId,
  secret: z.string(),
  url: z.string(),
  expires: z.iso.datetime(),
});

export const mfaRoutes = {
  sessionCertificate: route({
    method: 'POST',
    path: '/v1/users/self/session-certificate',
    summary:
      'A certificate for one session on one node, for a second factor proven for it. Without proof: the question.',
    access: self,
    body: session.extend({ otp: otp.optional() }),
    result: z.discriminatedUnion('state', [
      z.strictObject({ state: z.literal('not_needed') }),
      /** What the user can answer with; both false: they have set nothing up. */
      z.strictObject({ state: z.literal('needed'), otp: z.boolean(), webauthn: z.boolean() }),
      sessionCertificate.extend({ state: z.literal('issued') }),
    ]),
  }),
  listMfaDevices: route({
    method: 'GET',
    path: '/v1/users/self/mfa/devices',
    summary: 'The second factors of the caller.',
    access: self,
    result: z.strictObject({ devices: z.array(mfaDevice), offers: z.array(z.enum(['totp', 'webauthn'])) }),
  }),
  beginTotpDevice: route({
    method: 'POST',
    path: '/v1/users/self/mfa/totp',
    summary: 'A secret for a new authenticator app of the caller, who must prove an older second factor.',
    access: self,
    body: z.strictObject({ name: deviceName, otp: otp.optional() }),
    result: newApp,
  }),
  finishTotpDevice: route({
    method: 'POST',
    path: '/v1/users/self/mfa/totp/:id',
    summary: 'The first code of the new authenticator app: from now on it counts.',
    access: self,
    params: z.strictObject({ id: taskId }),
    body: z.strictObject({ otp }),
    result: z.strictObject({ device: mfaDevice }),
  }),
  removeMfaDevice: route({
    method: 'POST',
    path: '/v1/users/self/mfa/remove',
    summary: 'Removes a second factor of the caller, who must prove one.',
    access: self,
    body: z.strictObject({ name: z.string().min(1).max(64), otp }),
    result: z.strictObject({ device: mfaDevice }),
  }),
  beginMfaTask: route({
    method: 'POST',
    path: '/v1/users/self/mfa/tasks',
    summary: 'Something the caller does with a security key in a browser.',
    access: self,
    body: mfaTask,
    result: z.strictObject({ id: taskId, code: z.string(), expires: z.iso.datetime() }),
  }),
  mfaTaskResult: route({
    method: 'GET',
    path: '/v1/users/self/mfa/tasks/:id',
    summary: 'What came of it, once.',
    access: self,
    params: z.strictObject({ id: taskId }),
    result: z.discriminatedUnion('state', [
      z.strictObject({ state: z.literal('waiting') }),
      sessionCertificate.extend({ state: z.literal('issued') }),
      z.strictObject({ state: z.literal('changed'), device: mfaDevice }),
      newApp.extend({ state: z.literal('begun') }),
    ]),
  }),
  readMfaTask: route({
    method: 'GET',
    path: '/v1/mfa/tasks/:id',
    summary: 'What the page of such a task shows, and what the browser asks of the key.',
    access: proxyOnly,
    params: z.strictObject({ id: taskId }),
    result: z.strictObject({
      type: z.enum(['session', 'add_device', 'add_app', 'remove_device']),
      user: z.string(),
      code: z.string(),
      /** `root@web-1`, or the name of the device. */
      subject: z.string(),
      /** For a key that is known: `navigator.credentials.get`. */
      get: json.optional(),
      /** For a new key: `navigator.credentials.create`. */
      create: json.optional(),
    }),
  }),
  completeMfaTask: route({
    method: 'POST',
    path: '/v1/mfa/tasks/:id/complete',
    summary: 'What the security key answered.',
    access: proxyOnly,
    rate: 'log_in',
    params: z.strictObject({ id: taskId }),
    body: z.strictObject({
      get: json.optional(),
      create: json.optional(),
      remote_addr: z.string().max(64),
      user_agent: z.string().max(512).optional(),
    }),
    result: z.strictObject({ user: z.string() }),
  }),
  passkeyChallenge: route({
    method: 'POST',
    path: '/v1/mfa/passkey-challenge',
    summary: 'What a passkey that logs in by itself must sign.',
    access: proxyOnly,
    rate: 'log_in',
    body: z.strictObject({ remote_addr: z.string().max(64) }),
    result: z.strictObject({ webauthn: json }),
  }),
} as const;
