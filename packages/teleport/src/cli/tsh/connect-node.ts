// The way to a node: a connection to the proxy's SSH gateway, a channel through it, and inside that channel a second
// SSH connection that ends at the node itself. The proxy moves bytes it cannot read.
import type { Duplex } from 'node:stream';
import { AppError } from '@sallyport/contracts/errors.ts';
import { parsePublicKeyLine } from '../../ca/public-key.ts';
import { verifyHostCertificate } from '../../ca/verify.ts';
import { connectSsh } from '../../ssh-transport/client.ts';
import type { ClientKey, HostKeyOffer, SshClient, SshClientOptions } from '../../ssh-transport/ssh-client.ts';
import { type Keys, type Profile, readKeys } from './profile.ts';
import { dialPlain, dialProxy, parseProxyAddress } from './proxy-link.ts';

export interface NodeAddress {
  readonly host: string;
  readonly port: number;
}

export interface NodeLink {
  readonly client: SshClient;
  close(): void;
}

/** The proxy knows where a node really listens; SSH wants some port. */
const documentedPort = 3022;

/** `host`, `host:port` or `[v6]:port` of a node; with `--port` that wins. */
export function nodeAddress(text: string, port?: number): NodeAddress {
  const match = /^(\[[0-9a-fA-F:]+\]|[^:\s]+)(?::(\d{1,5}))?$/.exec(text);
  if (match?.[1] === undefined) {
    throw new AppError('bad_input', 'tsh.bad_host', `"${text}" is not the name of a node.`);
  }
  return { host: match[1].replace(/^\[|\]$/g, ''), port: port ?? Number(match[2] ?? documentedPort) };
}

/** The channel through the gateway: bytes to the node's SSH port. Closing it closes the link to the proxy. */
export async function gatewayChannel(profile: Profile, keys: Keys, node: NodeAddress): Promise<Duplex> {
  const address = parseProxyAddress(profile.web_proxy_addr);
  const stream = profile.tls_routing_enabled
    ? await dialProxy(address, 'teleport-proxy-ssh', {
        clusterCas: keys.tlsHostCas,
        insecure: profile.insecure,
      })
    : await dialPlain(parseProxyAddress(profile.ssh_proxy_addr));
  const gateway = await connectSsh({
    stream,
    login: profile.user,
    keys: [{ privateKey: keys.sshKey, certificate: keys.sshCertificate }],
    verifyHost: (offer) => verifyHost(profile, offer, undefined),
  }).catch((error: unknown) => {
    throw refusedByProxy(AppError.from(error), profile);
  });
  try {
    const channel = await gateway.directTcpip(node);
    channel.once('close', () => gateway.close());
    return channel;
  } catch (error) {
    gateway.close();
    throw error instanceof AppError ? unreachableNode(error, node) : error;
  }
}

function refusedByProxy(error: AppError, { user, web_proxy_addr }: Profile): AppError {
  if (error.code !== 'ssh.login_refused') return error;
  return new AppError(
    'denied',
    'tsh.proxy_refused',
    `${web_proxy_addr} refused the certificate of ${user}.`,
    {
      cause: error,
      hint: 'You may be locked, or the cluster changed its authorities: try `tsh login`; its audit log has the reason.',
    },
  );
}

/** The proxy's own words, without what the protocol put around them. */
function unreachableNode(error: AppError, { host }: NodeAddress): AppError {
  const reason = refusalReason(error);
  if (reason === undefined) return error;
  return new AppError(error.kind, 'tsh.node_unreachable', `${host} cannot be reached: ${reason}.`, {
    cause: error,
    hint: '`tsh ls` lists the nodes your roles allow.',
  });
}

/** Why a channel was refused, as the other side said it; undefined: the error is another. */
export function refusalReason({ code, message }: AppError): string | undefined {
  return code === 'ssh.channel_refused' ? message.replace(/^[^:]+: /, '').replace(/\.+$/, '') : undefined;
}

type NodeOptions = Pick<SshClientOptions, 'agent' | 'handler'>;

/** Where the node refuses for want of a second factor, the person is asked for it, and it is tried once more. */
export async function connectNode(
  profile: Profile,
  node: NodeAddress,
  login: string,
  options: NodeOptions = {},
): Promise<NodeLink> {
  const keys = await readKeys(profile);
  const own = { privateKey: keys.sshKey, certificate: keys.sshCertificate };
  try {
    return await linkTo({ profile, keys, node, login, own }, options);
  } catch (error) {
    if (AppError.from(error).code !== 'ssh.login_refused') throw error;
    const { proveForSession } = await import('./session-mfa.ts');
    const session = await proveForSession(profile, node, login);
    if (session === undefined) throw error;
    return linkTo({ profile, keys, node, login, own: session }, options);
  }
}

interface Way {
  readonly profile: Profile;
  /** For the proxy. */
  readonly keys: Keys;
  /** For the node. */
  readonly own: ClientKey;
  readonly node: NodeAddress;
  readonly login: string;
}

async function linkTo({ profile, keys, own, node, login }: Way, options: NodeOptions): Promise<NodeLink> {
  const stream = await gatewayChannel(profile, keys, node);
  const client = await connectSsh({
    ...options,
    stream,
    login,
    keys: [own],
    keepaliveMs: 30_000,
    verifyHost: (offer) => verifyHost(profile, offer, node.host),
  });
  return { client, close: () => client.close() };
}

/** `host` undefined: any host of the cluster, as for the gateway, which is reached under names of its own choice. */
function verifyHost(profile: Profile, offer: HostKeyOffer, host: string | undefined): boolean {
  const check = (name: string) =>
    verifyHostCertificate({
      blob: offer.blob,
      trustedCas: profile.host_cas.map(parsePublicKeyLine),
      host: name,
      now: new Date(),
    });
  const verdict = check(host ?? `proxy.${profile.cluster}`);
  if (verdict.ok) return true;
  throw new AppError(
    'denied',
    'tsh.untrusted_host',
    `${host ?? 'The proxy'} did not prove to be a host of ${profile.cluster}: ${verdict.reason}.`,
    {
      hint: 'If the cluster rotated its authorities, log in again with `tsh login`.',
    },
  );
}
