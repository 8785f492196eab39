// Where nodes dial in. A node logs in with its SSH host certificate as the key and its uuid as the login; from then on
// the proxy opens streams to it, and the node asks for nothing.
import { lockedOut } from '@sallyport/contracts/api/lock.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Certificate } from '../ca/certificate.ts';
import { identityExtensions } from '../ca/identity.ts';
import { optionText } from '../ca/parse-certificate.ts';
import { verifyHostCertificate } from '../ca/verify.ts';
import { startSshServer } from '../ssh-transport/server.ts';
import type { AuthAttempt, AuthDecision, Refusal, SshServer } from '../ssh-transport/ssh-server.ts';
import type { AgentIdentity, Agents } from './agents.ts';
import type { ClusterTrust } from './cluster-trust.ts';
import type { ProxyOptions } from './proxy.ts';

export interface TunnelServerOptions {
  readonly proxy: ProxyOptions;
  readonly trust: ClusterTrust;
  readonly agents: Agents;
  readonly maxAgents: number;
  readonly refused: (refusal: Refusal) => void;
}

// Behind NAT a mapping is forgotten after as little as 30 s of silence; both ends ask for a sign of life in time.
const keepaliveMs = 15_000;
const maxStreamsPerAgent = 4_096;

export function startTunnelServer(options: TunnelServerOptions): Promise<SshServer> {
  const { proxy, agents, maxAgents } = options;
  return startSshServer<AgentIdentity>({
    listen: proxy.config.proxy.tunnelListenAddr,
    bind: proxy.bind?.('proxy-tunnel'),
    hostKeys: proxy.identity.hostKeys,
    version: `Sallyport-${proxy.version}`,
    limits: {
      maxConnections: maxAgents,
      // After a restart every agent of a site comes back at once, from one address.
      maxStartups: { start: 1_000, ratePercent: 30, full: 4_000 },
      perSourceStartups: { max: 1_000 },
      maxAuthTries: 2,
      maxSessions: 0,
      maxChannels: maxStreamsPerAgent,
      loginGraceTimeMs: 30_000,
      keepaliveMs,
      keepaliveTries: 3,
    },
    accepts: (query) => query.algorithm.endsWith('-cert-v01@openssh.com'),
    authenticate: async (attempt) => judge(options, attempt),
    onConnection: (connection) => {
      const { hostUuid } = connection.identity;
      if (agents.add(connection, proxy.now())) {
        proxy.log.info({ node: hostUuid, remote: connection.remote.host }, 'a node opened its tunnel');
        void connection.closed.then((reason) => {
          proxy.log.info({ node: hostUuid, reason }, 'the tunnel of a node ended');
        });
      }
      return {};
    },
    onRefused: options.refused,
    log: proxy.log,
  });
}

function judge({ proxy, trust }: TunnelServerOptions, attempt: AuthAttempt): AuthDecision<AgentIdentity> {
  const now = proxy.now();
  const { blob, login } = attempt;
  const verdict = verifyHostCertificate({ blob, trustedCas: trust.authorities.host, host: login, now });
  if (!verdict.ok) return { ok: false, reason: verdict.reason };
  const reason = identityProblem(verdict.certificate, login, proxy.cluster.trust.cluster_name);
  if (reason !== undefined) return { ok: false, reason };
  const locked = agentLock(proxy, login);
  if (locked !== undefined) return { ok: false, reason: locked };
  return { ok: true, identity: { hostUuid: login } };
}

/** Names among the principals are for clients to find; who the host is says its key id. */
function identityProblem(certificate: Certificate, login: string, clusterName: string): string | undefined {
  if (certificate.keyId !== login && certificate.keyId !== `${login}.${clusterName}`) {
    return 'the host certificate is of another host';
  }
  if (!rolesOf(certificate).includes('node')) return 'the host certificate is not one of a node';
  return undefined;
}

function rolesOf({ extensions }: Certificate): readonly unknown[] {
  try {
    const data = extensions.get(identityExtensions.roles);
    const roles: unknown = data && JSON.parse(optionText(data, identityExtensions.roles));
    return Array.isArray(roles) ? roles : [];
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof AppError) return [];
    throw error;
  }
}

/** Why this node may keep no tunnel. */
export function agentLock({ cluster, now }: ProxyOptions, hostUuid: string): string | undefined {
  const node = cluster.nodes.find(({ metadata }) => metadata.name === hostUuid);
  return lockedOut({ hostUuid, hostname: node?.spec.hostname ?? hostUuid }, cluster.locks, now());
}
