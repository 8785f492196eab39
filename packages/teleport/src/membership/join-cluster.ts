// Joining: a token for certificates. The token is shown only to a cluster whose authority was checked first.
import { authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { type Client, createClient } from '@sallyport/contracts/api/client.ts';
import { joinProofText, joinProofVersion } from '@sallyport/contracts/api/join-proof.ts';
import type { HostRole } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { HostKeys } from '../ca/host-keys.ts';
import type { Address } from '../config/config.ts';
import { Backoff, pause } from './backoff.ts';
import { type Granted, HostMember } from './host-member.ts';
import { meetCluster } from './known-authority.ts';
import type { MembershipLog } from './membership-log.ts';
import { tlsTransport } from './transport.ts';

/** The caller's version, for the "too old" answer. */
export const versionHeader = 'x-sallyport-version';

export interface JoinOptions {
  readonly dataDir: string;
  readonly keys: HostKeys;
  readonly hostUuid: string;
  readonly nodename: string;
  readonly roles: readonly HostRole[];
  /** Names and addresses, without ports, this host is dialled by. */
  readonly principals: readonly string[];
  /** Auth servers, or the web port of proxies: both answer alike. */
  readonly addresses: readonly Address[];
  readonly token: string | undefined;
  readonly pins: readonly string[];
  readonly version: string;
  readonly now: () => Date;
  readonly log: MembershipLog;
  /** Ends the waiting for a cluster that does not answer. */
  readonly signal: AbortSignal;
}

/**
 * The membership this host has; without one it joins, again and again for as long as nobody answers or too many came
 * at once. Rejects when the cluster refuses (token, pin), when there is no token, and when the signal aborts.
 */
export async function becomeMember(options: JoinOptions): Promise<HostMember> {
  const existing = await HostMember.open(options);
  const problem = problemOf(existing, options);
  if (existing !== undefined && problem === undefined) return existing;
  const { token } = options;
  if (token === undefined) throw noToken(problem ?? '');
  const backoff = new Backoff({ firstMs: 1_000, maxMs: 30_000 });
  for (;;) {
    try {
      const granted = await join({ ...options, token });
      options.log.info({ cluster: granted.trust.cluster_name }, 'joined the cluster');
      return await HostMember.adopt(options, options.roles, granted);
    } catch (error) {
      const failure = AppError.from(error);
      if (!isPassing(failure) || options.signal.aborted) throw failure;
      const waitMs = backoff.next();
      options.log.warn({ error: failure.message, waitMs }, 'the cluster cannot be joined yet');
      if (!(await pause(waitMs, options.signal))) throw failure;
    }
  }
}

/** A fleet behind one address comes at once, and is let in by and by. */
const isPassing = ({ kind, code }: AppError) => kind === 'unavailable' || code === 'api.too_fast';

/** Why the certificates there are open no door, not even that of renewal. */
function problemOf(member: HostMember | undefined, { roles, now }: JoinOptions): string | undefined {
  if (member === undefined) return 'This host has not joined the cluster yet';
  const { validBefore } = member.life;
  if (validBefore <= now()) return `This host's certificates expired at ${validBefore.toISOString()}`;
  if (!member.trusted) return "The authority of this host's certificates was rotated away";
  if (roles.every((role) => member.roles.includes(role))) return undefined;
  return `This host joined as ${member.roles.join(', ')}, now it is to be ${roles.join(', ')}`;
}

async function join(options: JoinOptions & { readonly token: string }): Promise<Granted> {
  const trust = await meetCluster(options);
  const transport = tlsTransport({ addresses: options.addresses, trust: () => trust });
  try {
    const client = createClient(authRoutes, transport, { [versionHeader]: options.version });
    return await ask(client, options);
  } finally {
    transport.close();
  }
}

async function ask(
  client: Client<typeof authRoutes>,
  options: JoinOptions & { readonly token: string },
): Promise<Granted> {
  const { keys, signal } = options;
  const { nonce } = await client.joinChallenge(undefined, { signal });
  const request = {
    token: options.token,
    nonce,
    signature_version: joinProofVersion,
    host_uuid: options.hostUuid,
    nodename: options.nodename,
    roles: [...options.roles],
    ssh_public_key: keys.ssh.publicKey.toString('base64'),
    tls_public_key: keys.tls.publicKeyPem,
    principals: [...options.principals],
    version: options.version,
  };
  const signature = await keys.ssh.signer.sign(Buffer.from(joinProofText(request)));
  return client.join({ body: { ...request, signature: signature.toString('base64') } }, { signal });
}

function noToken(problem: string): AppError {
  return new AppError('bad_input', 'membership.no_token', `${problem}, and there is no join token.`, {
    hint: 'Make one with `tctl nodes add --roles=…`, and give it as --token or in join_params.',
  });
}
