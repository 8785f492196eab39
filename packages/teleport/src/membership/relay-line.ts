// A proxy's signed word for whose connection it hands over to a node that it dials by address: written by the proxy
// as the first line of the stream (frame: ssh-transport/relay-line.ts), judged here by the node, which would else see
// every person at the proxy's address in its audit events, `source-address` options and limits.
//
//   sallyport-relay-1 <claim>.<host certificate>.<signature>\n       each in base64url; the claim is JSON
//
// The signature covers everything before its dot, the magic first: a host key also signs key exchanges (a bare hash)
// and log-ins to tunnels (beginning with a length), and none of these can be taken for another.
import { randomBytes } from 'node:crypto';
import type { Trust } from '@sallyport/contracts/api/auth-routes.ts';
import { lockedOut } from '@sallyport/contracts/api/lock.ts';
import type { LockDocument } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { z } from 'zod';
import type { Certificate } from '../ca/certificate.ts';
import { identityExtensions } from '../ca/identity.ts';
import { optionText } from '../ca/parse-certificate.ts';
import { parsePublicKeyLine } from '../ca/public-key.ts';
import { verifySignature } from '../ca/signature.ts';
import type { Signer } from '../ca/signer.ts';
import { verifyHostCertificate } from '../ca/verify.ts';
import type { Address } from '../ssh-transport/connection.ts';
import { RELAY_MAGIC } from '../ssh-transport/relay-line.ts';
import type { RelayVerdict } from '../ssh-transport/ssh-server.ts';
import { Nonces } from './nonces.ts';

/** Either way: what clocks of a cluster may differ by. */
const maxSkewMs = 60_000;

const claim = z.strictObject({
  remote: z.strictObject({ host: z.string().min(1).max(64), port: z.int().min(0).max(65_535) }),
  /** Uuid of the node it is meant for, or `auth`: whoever else gets it refuses it. */
  node: z.string().max(64),
  /** Unix time, ms. */
  issued: z.int(),
  nonce: z.string().length(22),
});
type Claim = z.output<typeof claim>;

export interface RelayOrder {
  readonly signer: Signer;
  /** SSH blob, of that key. */
  readonly certificate: Buffer;
  readonly node: string;
  readonly remote: Address;
  readonly now: Date;
}

/** With its newline. Of use once, for a minute. */
export async function relayLine({ signer, certificate, node, remote, now }: RelayOrder): Promise<string> {
  const { host, port } = remote;
  const nonce = randomBytes(16).toString('base64url');
  const said: Claim = { remote: { host, port }, node, issued: now.getTime(), nonce };
  const text = `${RELAY_MAGIC}${Buffer.from(JSON.stringify(said)).toString('base64url')}.${certificate.toString('base64url')}`;
  const signature = await signer.sign(Buffer.from(text));
  return `${text}.${signature.toString('base64url')}\n`;
}

export interface RelayJudgeOptions {
  readonly cluster: { readonly trust: Trust; readonly locks: readonly LockDocument[] };
  /** Ours; `auth`, for an auth server. */
  readonly hostUuid: string;
  readonly now: () => Date;
}

export class RelayJudge {
  readonly #options: RelayJudgeOptions;
  // A word is good from a skew before its time to a skew after it. Those of an earlier run are not known any more: who
  // had copied one from the wire could still claim the same person's address with it, for a minute, and nothing else.
  readonly #nonces = new Nonces(2 * maxSkewMs);
  #cas: { readonly lines: readonly string[]; readonly blobs: readonly Buffer[] } = { lines: [], blobs: [] };

  constructor(options: RelayJudgeOptions) {
    this.#options = options;
  }

  /** `line`: without its newline. Nothing in it is believed before the signature was checked. */
  judge(line: string): RelayVerdict {
    const parts = /^([\w-]+)\.([\w-]+)\.([\w-]+)$/.exec(line.slice(RELAY_MAGIC.length));
    if (!line.startsWith(RELAY_MAGIC) || parts === null) return { refuse: "the relay's line is malformed" };
    const [said, blob, signature] = parts.slice(1).map(decode);
    if (!said || !blob || !signature) return { refuse: "the relay's line is malformed" };
    const proxy = this.#proxyOf(blob);
    if (typeof proxy === 'string') return { refuse: `the relay is not believed: ${proxy}` };
    const signed = Buffer.from(line.slice(0, line.lastIndexOf('.')), 'latin1');
    if (!verifySignature(proxy.publicKey, signature, signed))
      return { refuse: 'the signature of the relay does not hold' };
    return this.#judgeClaim(said, proxy.keyId);
  }

  /** Whose certificate it is, if a proxy's of this cluster; or why it is not taken. */
  #proxyOf(blob: Buffer): Certificate | string {
    const { cluster, now } = this.#options;
    const host = `proxy.${cluster.trust.cluster_name}`;
    const verdict = verifyHostCertificate({ blob, trustedCas: this.#trusted(), host, now: now() });
    if (!verdict.ok) return verdict.reason;
    const { certificate } = verdict;
    if (!isProxy(certificate)) return 'the host certificate is not one of a proxy';
    const locked = lockedOut({ hostUuid: certificate.keyId }, cluster.locks, now());
    return locked === undefined ? certificate : 'the proxy is locked';
  }

  #judgeClaim(said: Buffer, keyId: string): RelayVerdict {
    const parsed = claim.safeParse(jsonOf(said));
    if (!parsed.success) return { refuse: "the relay's word is malformed" };
    const { remote, node, issued, nonce } = parsed.data;
    const { hostUuid, now } = this.#options;
    const nowMs = now().getTime();
    if (node !== hostUuid) return { refuse: "the relay's word is meant for another host" };
    const skewMs = nowMs - issued;
    if (Math.abs(skewMs) > maxSkewMs) {
      const when = skewMs > 0 ? 'old' : 'in the future';
      return {
        refuse: `the relay's word is ${Math.round(Math.abs(skewMs) / 1000)} s ${when}; compare the clocks`,
      };
    }
    switch (this.#nonces.take(`${keyId} ${nonce}`, nowMs)) {
      case 'seen':
        return { refuse: "the relay's word was used before" };
      case 'full':
        return { refuse: 'too many connections through relays' };
      case 'new':
        return { remote };
    }
  }

  #trusted(): readonly Buffer[] {
    const lines = this.#options.cluster.trust.ssh_host_cas;
    if (lines !== this.#cas.lines) this.#cas = { lines, blobs: lines.map(parsePublicKeyLine) };
    return this.#cas.blobs;
  }
}

/** Strictly: without that the last character could be another, and the line still hold. */
function decode(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : undefined;
}

/** Auth gives the name `proxy.<cluster>` to nobody else; the roles are its word, too. */
function isProxy({ extensions }: Certificate): boolean {
  try {
    const data = extensions.get(identityExtensions.roles);
    const roles: unknown = data && JSON.parse(optionText(data, identityExtensions.roles));
    return Array.isArray(roles) && roles.includes('proxy');
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof AppError) return false;
    throw error;
  }
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
