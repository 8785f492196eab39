// Hosts of the cluster: who each is (its key), and the certificates that say so.
import type { HostCertificates } from '@sallyport/contracts/api/auth-routes.ts';
import type { HostRole } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import { identityExtensions } from '../../ca/identity.ts';
import { issueCertificate } from '../../ca/issue.ts';
import { fingerprint } from '../../ca/known-hosts.ts';
import { parseCertificate } from '../../ca/parse-certificate.ts';
import { issueHostTls, splitNames } from '../../ca/tls-issue.ts';
import { listDocuments } from '../documents.ts';
import type { Parts } from '../parts.ts';
import type { Condition, Item, Store, Write } from '../store/store.ts';

/**
 * `host/<uuid>`: stays when heartbeats stop, until an administrator removes the host, or it was not heard of for so long
 * that its certificates ended long ago (`hostMemoryMs`).
 */
export interface HostRecord {
  readonly hostUuid: string;
  readonly nodename: string;
  readonly roles: readonly HostRole[];
  /** SSH blob, base64. */
  readonly sshPublicKey: string;
  /** Given by the token it joined with. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly joined: string;
}

export interface HostOrder {
  readonly record: HostRecord;
  /** PEM. */
  readonly tlsPublicKey: string;
  readonly principals: readonly string[];
}

export interface MadeHostCertificates {
  readonly certificates: HostCertificates;
  /** To be told before they are handed out. */
  readonly event: EventDraft;
}

/** Long enough to outlive an auth service that is away for days; renewed well before. */
export const hostTtlMs = 14 * 24 * 3600_000;
/**
 * After the last join or renewal. A host that comes back later has to join anew in any case; its uuid is then free for
 * another key. Several lives of a certificate: so long `join.host_taken` says that somebody else uses a uuid.
 */
export const hostMemoryMs = 4 * hostTtlMs;
/** Clocks of the cluster may be this much behind ours. */
const skewMs = 5 * 60_000;
const uuidForm = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const loopback = ['localhost', '127.0.0.1', '::1'];

export const hostKey = (hostUuid: string) => `host/${hostUuid}`;

export async function readHost(
  store: Store,
  hostUuid: string,
): Promise<{ record: HostRecord; item: Item } | undefined> {
  const item = await store.get(hostKey(hostUuid));
  return item && { record: JSON.parse(item.value) as HostRecord, item };
}

export function putHost(record: HostRecord, now: Date, expect: Condition): Write {
  const expires = new Date(now.getTime() + hostMemoryMs);
  return { type: 'put', key: hostKey(record.hostUuid), value: JSON.stringify(record), expires, expect };
}

/** Hosts from before records ended: from now on they do, unless they renew. */
export async function endOldHosts(store: Store, now: Date): Promise<number> {
  const endless = (await store.range(hostKey(''))).filter(({ expires }) => expires === undefined);
  for (const { value, revision } of endless) {
    const write = putHost(JSON.parse(value) as HostRecord, now, { revision });
    // Somebody else has written it meanwhile, with an end.
    await store.commit([write]).catch(() => undefined);
  }
  return endless.length;
}

export async function makeHostCertificates(parts: Parts, order: HostOrder): Promise<MadeHostCertificates> {
  const { hostUuid, nodename, roles, sshPublicKey } = order.record;
  const { clusterName } = parts.settings;
  await refuseForeignNames(parts, order.record, [nodename, ...order.principals]);
  const now = parts.now().getTime();
  const validity = { validAfter: new Date(now - skewMs), validBefore: new Date(now + hostTtlMs) };
  const { ssh, tls } = parts.authorities.active('host');
  const publicKey = Buffer.from(sshPublicKey, 'base64');
  const principals = [
    ...new Set([
      nodename,
      hostUuid,
      ...clusterNames(order.record, clusterName),
      ...loopback,
      ...order.principals,
    ]),
  ];
  const blob = await issueCertificate(ssh, {
    type: 'host',
    publicKey,
    keyId: hostUuid,
    principals,
    ...validity,
    // Tells a tunnel server what kind of host dials it.
    extensions: { [identityExtensions.roles]: JSON.stringify(roles) },
  });
  const tlsCertificate = await issueHostTls(tls, {
    publicKeyPem: order.tlsPublicKey,
    cluster: clusterName,
    hostUuid,
    roles,
    ...splitNames(principals),
    ...validity,
  });
  const { serial } = parseCertificate(blob);
  return {
    certificates: {
      ssh_certificate: blob.toString('base64'),
      tls_certificate: tlsCertificate,
      valid_before: validity.validBefore.toISOString(),
    },
    event: {
      event: 'cert.create',
      code: 'TC000I',
      cert_type: 'host',
      user: hostUuid,
      user_kind: 3,
      identity: {
        host_id: hostUuid,
        roles: [...roles],
        principals,
        serial: serial.toString(),
        fingerprint: fingerprint(publicKey),
        valid_after: validity.validAfter.toISOString(),
        expires: validity.validBefore.toISOString(),
      },
    },
  };
}

/** `proxy.<cluster>` is every proxy of the cluster, to clients that ask for any: a node called "proxy" is not. */
function clusterNames({ hostUuid, nodename, roles }: HostRecord, cluster: string): string[] {
  const own = [`${nodename}.${cluster}`, `${hostUuid}.${cluster}`];
  const common = `proxy.${cluster}`;
  return roles.includes('proxy')
    ? [...own, common]
    : own.filter((name) => name.toLowerCase() !== common.toLowerCase());
}

/**
 * The names a host wants to be dialled by. Refused are those by which it could be taken for somebody else: another
 * host's uuid, the cluster's name unless it is auth, and the addresses of proxies unless it is one. Two nodes of one
 * name are allowed: they are told apart by uuid.
 */
export async function refuseForeignNames(
  parts: Parts,
  { hostUuid, roles }: Pick<HostRecord, 'hostUuid' | 'roles'>,
  names: readonly string[],
): Promise<void> {
  const { clusterName } = parts.settings;
  const taken =
    roles.includes('proxy') || roles.includes('auth') ? new Set<string>() : await proxyNames(parts);
  for (const name of names) {
    const [label = ''] = name.toLowerCase().split('.');
    const common = name.toLowerCase() === `proxy.${clusterName}`.toLowerCase() && !roles.includes('proxy');
    // A cluster without a name of its own is named after its auth host: there the two are one.
    const cluster = name === clusterName && !roles.includes('auth');
    const otherUuid = uuidForm.test(label) && label !== hostUuid.toLowerCase();
    if (otherUuid || common || cluster || taken.has(name.toLowerCase())) {
      throw new AppError(
        'denied',
        'join.foreign_name',
        `The name "${name}" belongs to another host of the cluster.`,
      );
    }
    if (!/^[A-Za-z0-9_.:-]+$/.test(name))
      throw new AppError('bad_input', 'join.bad_name', 'A name of the host holds characters no address has.');
  }
}

async function proxyNames({ store }: Parts): Promise<Set<string>> {
  const proxies = await listDocuments(store, 'proxy');
  const names = proxies.flatMap(({ spec }) => [
    spec.hostname,
    ...[spec.web_addr, spec.ssh_addr, spec.tunnel_addr].map(hostOf),
  ]);
  return new Set(names.map((name) => name.toLowerCase()).filter((name) => !loopback.includes(name)));
}

function hostOf(address: string): string {
  return address.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
}
