// An auth service over a real database and real authorities, with a clock the test moves and the log in memory.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { hash } from '@node-rs/argon2';
import { joinProofText, joinProofVersion } from '@sallyport/contracts/api/join-proof.ts';
import type { HostRole } from '@sallyport/contracts/api/route.ts';
import type { AuditEvent } from '@sallyport/contracts/events/event.ts';
import { generate } from 'otplib';
import { EventStamp } from '../audit/session-emitter.ts';
import { Authorities } from '../ca/authorities.ts';
import { generateTlsKey, spkiPem } from '../ca/host-keys.ts';
import { generateEd25519 } from '../ca/openssh-private-key.ts';
import { KeySigner } from '../ca/signature.ts';
import type { CallContext, Caller } from './api/handler.ts';
import type { AuthService } from './auth-service.ts';
import type { AuthSettings } from './auth-settings.ts';
import { createAuthService } from './create-auth-service.ts';
import { putCredential, readCredential } from './credentials/device.ts';
import { SqliteStore } from './store/sqlite-store.ts';
import type { Store } from './store/store.ts';
import { StoredAuthorities } from './stored-authorities.ts';

export const admin: Caller = { kind: 'admin', user: 'root@auth' };
export const proxy: Caller = { kind: 'host', hostUuid: randomUUID(), roles: ['proxy'] };
export const anyone: Caller = { kind: 'anyone' };
export const person = (user: string): Caller => ({ kind: 'user', user, roles: [], traits: {} });
export const password = 'correct horse battery';

export interface Cluster {
  readonly service: AuthService;
  readonly store: Store;
  readonly authorities: Authorities;
  readonly events: AuditEvent[];
  readonly dataDir: string;
  /** As many as the log should refuse. */
  failAppends: number;
  now(): Date;
  advance(ms: number): void;
  /** The codes of the events since the last call. */
  codes(): string[];
  last(code: string): AuditEvent & Record<string, unknown>;
  as(caller: Caller, more?: Partial<CallContext>): CallContext;
}

export interface ClusterOptions {
  readonly settings?: Partial<AuthSettings>;
  readonly dataDir?: string;
  readonly version?: string;
  /** One more auth server of this cluster: its store, clock, log, and authorities in the store. */
  readonly beside?: Cluster;
  /** As on PostgreSQL: authorities in the store, for several servers. */
  readonly shared?: boolean;
}

export async function openCluster(t: TestContext, options: ClusterOptions = {}): Promise<Cluster> {
  const { beside } = options;
  const dataDir = beside?.dataDir ?? options.dataDir ?? (await mkdtemp(join(tmpdir(), 'sallyport-auth-')));
  let clock = Date.UTC(2026, 2, 1, 12);
  const now = beside?.now ?? (() => new Date(clock));
  const events: AuditEvent[] = beside?.events ?? [];
  const stamp = new EventStamp({ clusterName: 'test', now: () => now().getTime(), validate: true });
  const store = await SqliteStore.open(dataDir, { now, pollMs: 5, sweepMs: 5 });
  let service: AuthService | undefined;
  // Now, not at the end: a service that refuses to start leaves nothing behind either.
  t.after(async () => {
    await service?.close();
    await store.close();
    await rm(dataDir, { recursive: true, force: true });
  });
  const order = { clusterName: 'test', create: true, now };
  const authorities = await Authorities.open(
    options.shared === true ? { vault: new StoredAuthorities({ store }), ...order } : { dataDir, ...order },
  );
  t.after(() => authorities.close());
  let told = 0;
  const cluster = {
    failAppends: 0,
  };
  service = await createAuthService({
    store,
    authorities,
    audit: {
      stamp: (draft) => stamp.stamp(draft),
      append: async (batch) => {
        if (cluster.failAppends > 0) {
          cluster.failAppends--;
          throw new Error('disk full');
        }
        events.push(...batch);
      },
      has: async (uid) => events.some((event) => event.uid === uid),
    },
    settings: {
      clusterName: 'test',
      type: 'local',
      secondFactor: 'on',
      webauthnRpId: 'proxy.example.com',
      staticTokens: [{ roles: ['Proxy', 'node'], secret: 'static-secret' }],
      sessionRecording: 'node',
      clientIdleTimeoutMs: undefined,
      disconnectExpiredCert: false,
      webAddress: 'proxy.example.com:3080',
      ...options.settings,
    },
    version: options.version ?? '1.2.3',
    log: { info: () => undefined, warn: () => undefined },
    now,
  });
  // The proxy of the tests is a host like any other.
  await service.enrolLocalHost({ ...newHost().local, ...idOf(proxy) });
  told = events.length;
  return Object.assign(cluster, {
    service,
    store,
    authorities,
    events,
    dataDir,
    now,
    advance: (ms: number) => {
      clock += ms;
    },
    codes: () => {
      const since = events.slice(told).map(({ code }) => code);
      told = events.length;
      return since;
    },
    last: (code: string) => {
      const event = events.findLast((each) => each.code === code);
      assert.ok(event, `no event ${code}`);
      return event as AuditEvent & Record<string, unknown>;
    },
    as: (caller: Caller, more: Partial<CallContext> = {}): CallContext => ({
      caller,
      requestId: 'test',
      remoteAddress: '192.0.2.1',
      signal: new AbortController().signal,
      ...more,
    }),
  });
}

function idOf(caller: Caller) {
  assert.ok(caller.kind === 'host');
  return { hostUuid: caller.hostUuid, roles: caller.roles, nodename: 'proxy-1' };
}

/** Calls with all parts; what a test leaves out is empty. */
export const call = <B>(body: B) => ({ params: undefined, query: undefined, body });

export interface TestHost {
  readonly signer: KeySigner;
  readonly local: {
    hostUuid: string;
    nodename: string;
    roles: readonly HostRole[];
    sshPublicKey: Buffer;
    tlsPublicKey: string;
    principals: string[];
  };
  readonly caller: Caller;
}

export function newHost(nodename = 'web-1', roles: readonly HostRole[] = ['node']): TestHost {
  const signer = new KeySigner(generateEd25519());
  const hostUuid = randomUUID();
  const tlsPublicKey = spkiPem(generateTlsKey());
  return {
    signer,
    local: {
      hostUuid,
      nodename,
      roles,
      sshPublicKey: signer.publicKey,
      tlsPublicKey,
      principals: ['10.0.0.7'],
    },
    caller: { kind: 'host', hostUuid, roles },
  };
}

/** The body of a join as an honest host makes it. */
export async function joinBody(cluster: Cluster, host: TestHost, token: string) {
  const { nonce } = await cluster.service.handlers.joinChallenge(call(undefined), cluster.as(anyone));
  const request = {
    token,
    nonce,
    signature_version: joinProofVersion,
    host_uuid: host.local.hostUuid,
    nodename: host.local.nodename,
    roles: [...host.local.roles],
    ssh_public_key: host.local.sshPublicKey.toString('base64'),
    tls_public_key: host.local.tlsPublicKey,
    principals: host.local.principals,
    version: '1.2.3',
  };
  return { ...request, signature: await joinSignature(host, request) };
}

export async function joinSignature(
  host: TestHost,
  request: Readonly<Record<string, unknown>>,
): Promise<string> {
  const signature = await host.signer.sign(Buffer.from(joinProofText(request)));
  return signature.toString('base64');
}

export async function joinHost(cluster: Cluster, host: TestHost, token = 'static-secret') {
  const body = await joinBody(cluster, host, token);
  return cluster.service.handlers.join(call(body), cluster.as(anyone));
}

export async function addUser(cluster: Cluster, name: string, roles = ['access'], logins = ['root']) {
  const { handlers } = cluster.service;
  const body = { kind: 'user' as const, metadata: { name }, spec: { roles, traits: { logins } } };
  return handlers.putResource(
    { params: { kind: 'user', name }, query: { mode: 'create' }, body },
    cluster.as(admin),
  );
}

/** Invites the user and sets a password and an authenticator app; resolves to what makes codes. */
export async function setUpUser(
  cluster: Cluster,
  name: string,
): Promise<{ secret: string; code(): Promise<string> }> {
  const { handlers } = cluster.service;
  const { token } = await handlers.createInvite(
    { params: { name }, query: undefined, body: { purpose: 'invite' } },
    cluster.as(admin),
  );
  const remote_addr = '198.51.100.9:4711';
  const setup = await handlers.readInvite(call({ token, remote_addr }), cluster.as(proxy));
  const secret = setup.totp?.secret ?? '';
  const code = () => generate({ secret, epoch: Math.floor(cluster.now().getTime() / 1000) });
  const otp = secret === '' ? undefined : await code();
  await handlers.redeemInvite(call({ token, password, otp, remote_addr }), cluster.as(proxy));
  await makeGuessesCheap(cluster, name);
  return { secret, code };
}

// A guess at the password as people have it costs 35 ms and 46 MiB, and tests guess hundreds of times. The stored hash
// says what checking costs, so the same code checks the same password against one of little cost.
const cheap = hash(password, { memoryCost: 64, timeCost: 1, parallelism: 1 });

async function makeGuessesCheap({ store }: Cluster, name: string): Promise<void> {
  const { revision, ...credential } = await readCredential(store, name);
  assert.ok(credential.password?.startsWith('$argon2id$') && revision !== undefined);
  await store.commit([putCredential(name, { ...credential, password: await cheap }, { revision })]);
}

const key = new KeySigner(generateEd25519());
const tls = spkiPem(generateTlsKey());

export function logInBody(proof: {
  user: string;
  password?: string;
  otp?: string;
  webauthn?: Record<string, unknown>;
}) {
  return call({
    proof,
    ssh_public_key: key.publicKey.toString('base64'),
    tls_public_key: tls,
    remote_addr: '198.51.100.9',
  });
}
