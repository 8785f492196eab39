// The auth service opened from a data directory: authorities, store, service. The daemon puts listeners before it;
// tctl, beside a daemon that is not running, calls it in its own process.
import { join } from 'node:path';
import { authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import type { Transport } from '@sallyport/contracts/api/client.ts';
import type { AuditLog } from '../audit/audit-log.ts';
import { PagedSearch } from '../audit/search-page.ts';
import type { EventStamp } from '../audit/session-emitter.ts';
import type { ApiLog } from '../auth/api/api-server.ts';
import type { Caller, Handlers } from '../auth/api/handler.ts';
import { inProcessTransport } from '../auth/api/in-process.ts';
import { searchEventsHandler } from '../auth/api/search-events.ts';
import { auditSink } from '../auth/audit-sink.ts';
import type { AuthService, AuthSettings } from '../auth/auth-service.ts';
import { createAuthService } from '../auth/create-auth-service.ts';
import { SqliteStore } from '../auth/store/sqlite-store.ts';
import { Authorities } from '../ca/authorities.ts';
import { formatAddress } from '../config/address.ts';
import type { Config } from '../config/config.ts';

type AuthRoutes = typeof authRoutes;

export interface AuthCoreOptions {
  readonly config: Config;
  readonly audit: Pick<AuditLog, 'append' | 'search'>;
  /** Of that log: the host whose folder it is. */
  readonly hostUuid: string;
  readonly stamp: EventStamp;
  readonly version: string;
  /** Beside a daemon that owns the files. */
  readonly secondary?: boolean;
  readonly log: ApiLog;
  /** Where events of other hosts go; without it such calls are refused. */
  readonly emitEvents?: Handlers<AuthRoutes>['emitEvents'];
}

export interface AuthCore {
  readonly authorities: Authorities;
  readonly service: AuthService;
  readonly handlers: Handlers<AuthRoutes>;
  /** The API for whoever lives in this process. */
  transportAs(caller: Caller): Transport;
  close(): Promise<void>;
}

export async function openAuthCore(options: AuthCoreOptions, authorities: Authorities): Promise<AuthCore> {
  const { config, audit, stamp, version, log } = options;
  const store = await SqliteStore.open(config.dataDir);
  try {
    const service = await createAuthService({
      store,
      authorities,
      audit: auditSink(audit, stamp),
      settings: settingsOf(config),
      version,
      log,
      secondary: options.secondary ?? false,
    });
    const handlers: Handlers<AuthRoutes> = {
      ...service.handlers,
      emitEvents: options.emitEvents ?? refuseEvents,
      searchEvents: searchEventsHandler(new PagedSearch(join(config.dataDir, 'log'), options.hostUuid)),
    };
    return {
      authorities,
      service,
      handlers,
      transportAs: (caller) =>
        inProcessTransport({ routes: authRoutes, handlers, rules: service, caller, log }),
      async close() {
        await service.close();
        await store.close();
      },
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

export function openAuthorities(config: Config, create: boolean): Promise<Authorities> {
  return Authorities.open({
    dataDir: config.dataDir,
    clusterName: config.auth.clusterName,
    create,
    now: () => new Date(),
  });
}

function settingsOf({ auth, proxy, nodename }: Config): AuthSettings {
  const { type, secondFactor, webauthnRpId } = auth.authentication;
  const [publicAddr] = proxy.publicAddrs;
  return {
    clusterName: auth.clusterName,
    type,
    secondFactor,
    webauthnRpId,
    staticTokens: auth.tokens,
    sessionRecording: auth.sessionRecording,
    clientIdleTimeoutMs: auth.clientIdleTimeoutMs,
    disconnectExpiredCert: auth.disconnectExpiredCert,
    webAddress: proxy.enabled
      ? (publicAddr ?? formatAddress({ host: nodename, port: proxy.webListenAddr.port }))
      : undefined,
  };
}

async function refuseEvents(): Promise<never> {
  throw new Error('events of hosts are taken by the daemon only');
}
