// The auth service of this process: the service itself, its two listeners (mutual TLS for hosts and people, a socket
// file for the administrator), and the intake of other hosts' events.
import { join } from 'node:path';
import { authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import type { LockDocument } from '@sallyport/contracts/api/resources.ts';
import type { AuditLog, PositionedLog } from '../../audit/audit-log.ts';
import type { EventPages } from '../../audit/search-page.ts';
import type { EventStamp } from '../../audit/session-emitter.ts';
import { apiMetrics } from '../../auth/api/api-metrics.ts';
import { type ApiServer, startApiServer } from '../../auth/api/api-server.ts';
import type { RefusedCall } from '../../auth/api/call.ts';
import { certificateCaller } from '../../auth/api/caller-of.ts';
import { EventIntake } from '../../auth/api/event-intake.ts';
import { authAudience } from '../../auth/api/relayed-connections.ts';
import { listDocuments } from '../../auth/documents.ts';
import type { Store } from '../../auth/store/store.ts';
import { keepWatching } from '../../auth/store-watch.ts';
import type { HostKeys } from '../../ca/host-keys.ts';
import { serverTlsOptions } from '../../ca/tls-options.ts';
import type { Config } from '../../config/config.ts';
import { HostMember } from '../../membership/host-member.ts';
import { RelayJudge } from '../../membership/relay-line.ts';
import type { NodeLog } from '../../ssh/node-log.ts';
import {
  type AuthCore,
  type AuthCoreOptions,
  type AuthState,
  openAuthCore,
  openAuthState,
} from '../auth-core.ts';
import { authSocketPath } from '../auth-socket.ts';
import type { Predecessor } from './generation/predecessor.ts';
import type { Sockets } from './generation/sockets.ts';
import type { ServiceMetrics } from './metrics.ts';

export interface AuthSideOptions {
  readonly config: Config;
  readonly hostUuid: string;
  readonly keys: HostKeys;
  /** Names and addresses, without ports, this host is dialled by. */
  readonly principals: readonly string[];
  readonly audit: AuditLog;
  readonly pages: EventPages;
  /** The log, where it is one for all auth servers and keeps positions. */
  readonly positioned: PositionedLog | undefined;
  readonly stamp: EventStamp;
  readonly version: string;
  readonly log: NodeLog;
  readonly metrics: ServiceMetrics;
  readonly sockets: Sockets;
  readonly predecessor: Predecessor | undefined;
}

export interface AuthSide {
  readonly core: AuthCore;
  /** This host, enrolled by the authorities it holds itself. */
  readonly member: HostMember;
  readonly address: { readonly host: string; readonly port: number };
  /** Lets go of what only one daemon of this host may hold: listeners, the intake of events. The rest goes on. */
  yield(): Promise<void>;
  /** Whoever asked for it is gone. */
  resume(): Promise<void>;
  /** Why the store cannot be used just now; undefined: it can. */
  problem(): string | undefined;
  close(): Promise<void>;
}

export async function openAuthSide(options: AuthSideOptions): Promise<AuthSide> {
  const { databases } = options.metrics;
  const state = await openAuthState(options.config, true, options.log, {
    observe: databases.observer('store'),
  });
  databases.store(state);
  try {
    return await serve(options, state);
  } catch (error) {
    await state.close();
    throw error;
  }
}

async function serve(options: AuthSideOptions, state: AuthState): Promise<AuthSide> {
  const { config, sockets, predecessor } = options;
  // Its socket first: whoever connects while neither of us serves waits, and is not refused.
  await sockets.fetch('auth', config.auth.listenAddr);
  await predecessor?.yieldAuth();
  let intake = await openIntake(options);
  const emitEvents: AuthCoreOptions['emitEvents'] = (call, context) => intake.handler(call, context);
  const sharedLog = options.positioned !== undefined;
  const core = await openAuthCore({ ...options, sharedLog, emitEvents }, state);
  const member = await enrol(core, options);
  const metrics = apiMetrics(options.metrics.registry);
  const listen = () => startListeners(options, { core, member, metrics, store: state.store });
  let listeners: Listeners | undefined = await listen();
  const letGo = async () => {
    await listeners?.close();
    listeners = undefined;
    await intake.close();
  };
  return {
    core,
    member,
    address: listeners.address,
    problem: state.problem,
    yield: letGo,
    async resume() {
      if (listeners !== undefined) return;
      intake = await openIntake(options);
      listeners = await listen();
    },
    async close() {
      if (listeners !== undefined) await letGo();
      await core.close();
      await state.close();
    },
  };
}

function openIntake(options: AuthSideOptions): Promise<EventIntake> {
  const { config, audit, positioned, log, hostUuid } = options;
  return EventIntake.open({
    audit,
    positioned,
    log,
    logDir: join(config.dataDir, 'log'),
    hostId: hostUuid,
    stateDir: join(config.dataDir, 'intake'),
    clusterName: config.auth.clusterName,
  });
}

interface Listeners {
  readonly address: AuthSide['address'];
  close(): Promise<void>;
}

interface Served {
  readonly core: AuthCore;
  readonly member: HostMember;
  readonly metrics: ReturnType<typeof apiMetrics>;
  readonly store: Store;
}

async function startListeners(
  options: AuthSideOptions,
  { core, member, metrics, store }: Served,
): Promise<Listeners> {
  const { config, log, version, sockets } = options;
  const { authorities } = core;
  const shared = {
    routes: authRoutes,
    handlers: core.handlers,
    rules: core.service,
    version,
    log,
    metrics,
    onRefused: (refused: RefusedCall) => void core.service.tellRefused(refused),
  };
  const tls = () =>
    serverTlsOptions({ keyPem: member.tls.key, certPem: member.tls.cert, trust: authorities.trust() });
  const { host, port } = config.auth.listenAddr;
  const socket = await startApiServer({
    ...shared,
    listen: { socketPath: authSocketPath(config.dataDir) },
  });
  const locks = await followLocks(store);
  const relays = new RelayJudge({
    cluster: {
      get trust() {
        return authorities.trust();
      },
      get locks() {
        return locks.now;
      },
    },
    hostUuid: authAudience,
    now: () => new Date(),
  });
  const server = await startApiServer({
    ...shared,
    listen: {
      host,
      port,
      tls: tls(),
      callerOf: certificateCaller(
        () => authorities.trust(),
        () => new Date(),
      ),
      bind: sockets.bind('auth'),
      relayed: async (line) => relays.judge(line),
      onRelayRefused: (reason, remote) => log.warn({ reason, remote }, 'a connection of a relay was refused'),
    },
  });
  const stops = [
    member.onChange(() => server.replaceTls(tls())),
    authorities.onChange(() => server.replaceTls(tls())),
  ];
  return {
    address: 'port' in server.address ? server.address : { host, port },
    async close() {
      for (const stop of stops) stop();
      locks.stop();
      await Promise.all([closeServer(server), closeServer(socket)]);
    },
  };
}

/** The cluster's locks as the store has them, for questions that cannot wait. */
async function followLocks(store: Store): Promise<{ readonly now: readonly LockDocument[]; stop(): void }> {
  let now: readonly LockDocument[] = [];
  const stop = keepWatching(store, ['lock/'], () => {
    // What cannot be read just now stays as it was; the watch tells again.
    listDocuments(store, 'lock').then(
      (locks) => {
        now = locks;
      },
      () => undefined,
    );
  });
  now = await listDocuments(store, 'lock');
  return {
    get now() {
      return now;
    },
    stop,
  };
}

const closeServer = (server: ApiServer) => server.close(2_000);

/** At each start anew: it costs a millisecond, and follows every change of name, role and authority. */
async function enrol(core: AuthCore, options: AuthSideOptions): Promise<HostMember> {
  const { config, hostUuid, keys, principals } = options;
  const roles = rolesOf(config);
  const granted = await core.service.enrolLocalHost({
    hostUuid,
    nodename: config.nodename,
    roles,
    sshPublicKey: keys.ssh.publicKey,
    tlsPublicKey: keys.tls.publicKeyPem,
    principals,
  });
  return HostMember.adopt({ dataDir: config.dataDir, keys, hostUuid }, roles, {
    ssh_certificate: granted.sshCertificate.toString('base64'),
    tls_certificate: granted.tlsCertificate,
    valid_before: granted.validBefore.toISOString(),
    trust: core.authorities.trust(),
  });
}

/** What this host is to its cluster. */
export function rolesOf({ auth, proxy, ssh }: Config) {
  const roles = [
    ...(auth.enabled ? (['auth'] as const) : []),
    ...(proxy.enabled ? (['proxy'] as const) : []),
    ...(ssh.enabled ? (['node'] as const) : []),
  ];
  return roles;
}
