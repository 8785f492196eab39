// Who this host is in its cluster: its certificates and what it trusts, on disk as one file
// (`<data_dir>/member.json`, 0600, replaced atomically), so that certificates and trust are always of one moment.
// The keys lie beside it and never change (ca/host-keys.ts).
import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { authRoutes, type Trust } from '@sallyport/contracts/api/auth-routes.ts';
import { type HostRole, hostRoles } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { z } from 'zod';
import type { HostKeys } from '../ca/host-keys.ts';
import { parseCertificate } from '../ca/parse-certificate.ts';
import { readPrivateFile, replacePrivateFile } from '../ca/private-file.ts';
import { readTlsIdentity } from '../ca/tls-identity.ts';
import type { HostKey } from '../ssh-transport/ssh-server.ts';
import type { TlsKeyPair } from './transport.ts';

const membership = z.strictObject({
  version: z.literal(1),
  host_uuid: z.string(),
  roles: z.array(z.enum(hostRoles)),
  granted: authRoutes.join.result,
});
/** What auth answers to a join; a renewal brings the same without labels. */
export type Granted = z.output<typeof authRoutes.join.result>;
type Membership = Omit<z.output<typeof membership>, 'version'>;

export interface MemberOptions {
  readonly dataDir: string;
  readonly keys: HostKeys;
  readonly hostUuid: string;
}

export class HostMember {
  readonly hostUuid: string;
  readonly keys: HostKeys;
  readonly #path: string;
  readonly #listeners = new Set<() => void>();
  #membership: Membership;
  #changing: Promise<void> = Promise.resolve();
  #kept = true;

  private constructor(options: MemberOptions, found: Membership) {
    this.hostUuid = options.hostUuid;
    this.keys = options.keys;
    this.#path = memberPath(options.dataDir);
    this.#membership = found;
  }

  /** `undefined`: this host has not joined. Rejects when the file is damaged or speaks of other keys. */
  static async open(options: MemberOptions): Promise<HostMember | undefined> {
    const path = memberPath(options.dataDir);
    const text = await readPrivateFile(path);
    if (text === undefined) return undefined;
    const parsed = membership.safeParse(parseJson(text));
    if (!parsed.success) throw badIdentity(path, 'it cannot be read', parsed.error);
    const { version: _, ...found } = parsed.data;
    const problem =
      found.host_uuid === options.hostUuid ? keyProblem(found.granted, options) : 'it is of another host';
    if (problem !== undefined) throw badIdentity(path, problem);
    return new HostMember(options, found);
  }

  /** Takes what a join has granted, and keeps it. Rejects when it does not fit this host's keys. */
  static async adopt(
    options: MemberOptions,
    roles: readonly HostRole[],
    granted: Granted,
  ): Promise<HostMember> {
    const problem = grantProblem(granted, options);
    if (problem !== undefined) throw badGrant(problem);
    const member = new HostMember(options, { host_uuid: options.hostUuid, roles: [...roles], granted });
    await member.#write(member.#membership);
    return member;
  }

  get roles(): readonly HostRole[] {
    return this.#membership.roles;
  }

  get trust(): Trust {
    return this.#membership.granted.trust;
  }

  /** Those of the token it joined with. */
  get labels(): Readonly<Record<string, string>> {
    return this.#membership.granted.labels ?? {};
  }

  /** For the SSH server, and for log-in to a proxy's tunnel server. */
  get hostKeys(): readonly HostKey[] {
    return [{ privateKey: this.keys.ssh.privateKey, certificate: this.sshCertificate }];
  }

  get sshCertificate(): Buffer {
    return Buffer.from(this.#membership.granted.ssh_certificate, 'base64');
  }

  /** With the authority behind the leaf: a server that is met for the first time must show it. */
  get tls(): TlsKeyPair {
    const leaf = this.#membership.granted.tls_certificate;
    return { key: this.keys.tls.keyPem, cert: `${leaf}${issuerOf(leaf, this.trust) ?? ''}` };
  }

  /** Of the certificates; both are granted for the same time. */
  get life(): { readonly validAfter: Date; readonly validBefore: Date } {
    const leaf = new X509Certificate(this.#membership.granted.tls_certificate);
    return { validAfter: new Date(leaf.validFrom), validBefore: new Date(leaf.validTo) };
  }

  /** Made by an authority that is trusted now? Not when this host slept through a rotation. */
  get trusted(): boolean {
    return issuerOf(this.#membership.granted.tls_certificate, this.trust) !== undefined;
  }

  /** Made by the authorities that sign now? In a rotation's update_servers (or rollback) it says: renew. */
  get signedByActive(): boolean {
    const { trust } = this;
    const [active] = trust.tls_host_cas;
    return active !== undefined && issuerOf(this.#membership.granted.tls_certificate, trust) === active;
  }

  /** New certificates for the same keys, after a renewal. On disk before anybody hears of it. */
  async replace(granted: Granted): Promise<void> {
    const problem = grantProblem(granted, this);
    if (problem !== undefined) throw badGrant(problem);
    await this.#become((before) => ({ ...before, granted: { labels: before.granted.labels, ...granted } }));
  }

  /** The cluster trusts other authorities now. */
  async replaceTrust(trust: Trust): Promise<void> {
    if (JSON.stringify(trust) === JSON.stringify(this.trust)) return;
    await this.#become((before) => ({ ...before, granted: { ...before.granted, trust } }));
  }

  /** Called after each change of certificates or trust. Returns how to stop. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Another process of this host keeps the file from now on: what changes here stays here. */
  stopKeeping(): void {
    this.#kept = false;
  }

  /** One change after the other, each on disk before anybody sees it. */
  #become(change: (before: Membership) => Membership): Promise<void> {
    const done = this.#changing.then(async () => {
      const next = change(this.#membership);
      await this.#write(next);
      this.#membership = next;
      for (const listener of this.#listeners) listener();
    });
    this.#changing = done.catch(() => undefined);
    return done;
  }

  async #write(next: Membership): Promise<void> {
    if (!this.#kept) return;
    await replacePrivateFile(this.#path, `${JSON.stringify({ version: 1, ...next }, null, 2)}\n`);
  }
}

const memberPath = (dataDir: string) => join(dataDir, 'member.json');

/** A certificate for another key would be good for nothing, and found out much later. */
function keyProblem(
  granted: Granted,
  { keys, hostUuid }: Pick<MemberOptions, 'keys' | 'hostUuid'>,
): string | undefined {
  try {
    const ssh = parseCertificate(Buffer.from(granted.ssh_certificate, 'base64'));
    const leaf = new X509Certificate(granted.tls_certificate);
    const spki = String(leaf.publicKey.export({ type: 'spki', format: 'pem' }));
    if (!ssh.publicKey.equals(keys.ssh.publicKey) || spki !== keys.tls.publicKeyPem) {
      return 'its certificates are for other keys';
    }
    const identity = readTlsIdentity(leaf);
    if (identity?.kind !== 'host' || identity.hostUuid !== hostUuid)
      return 'its certificates are of another host';
    return undefined;
  } catch {
    return 'its certificates cannot be read';
  }
}

function grantProblem(
  granted: Granted,
  options: Pick<MemberOptions, 'keys' | 'hostUuid'>,
): string | undefined {
  const problem = keyProblem(granted, options);
  if (problem !== undefined) return problem;
  return issuerOf(granted.tls_certificate, granted.trust) === undefined
    ? 'its certificates are not signed by an authority it trusts'
    : undefined;
}

function issuerOf(leafPem: string, trust: Trust): string | undefined {
  const leaf = new X509Certificate(leafPem);
  return trust.tls_host_cas.find((pem) => {
    const authority = new X509Certificate(pem);
    return leaf.checkIssued(authority) && leaf.verify(authority.publicKey);
  });
}

function badIdentity(path: string, problem: string, cause?: unknown): AppError {
  return new AppError('bad_input', 'membership.bad_identity', `${path} cannot be used: ${problem}.`, {
    cause,
    hint: 'Restore it from a backup, or remove it and join the cluster again with a new token.',
  });
}

function badGrant(problem: string): AppError {
  return new AppError(
    'internal',
    'membership.bad_grant',
    `What the cluster answered cannot be used: ${problem}.`,
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
