// The auth service opened from a configuration: store, authorities, service. The daemon puts listeners before it;
// tctl, beside a daemon that is not running, calls it in its own process.
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import type { Transport } from '@sallyport/contracts/api/client.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { AuditLog } from '../audit/audit-log.ts';
import { type EventPages, PagedSearch } from '../audit/search-page.ts';
import type { EventStamp } from '../audit/session-emitter.ts';
import type { ApiLog } from '../auth/api/api-log.ts';
import type { Caller, Handlers } from '../auth/api/handler.ts';
import { inProcessTransport } from '../auth/api/in-process.ts';
import { searchEventsHandler } from '../auth/api/search-events.ts';
import { auditSink } from '../auth/audit-sink.ts';
import type { AuthService } from '../auth/auth-service.ts';
import type { AuthSettings } from '../auth/auth-settings.ts';
import { createAuthService } from '../auth/create-auth-service.ts';
import { type OpenedStore, type OpenStoreOptions, openStore } from '../auth/store/open-store.ts';
import { SealedStore, SealingKey } from '../auth/store/sealed-store.ts';
import type { Store } from '../auth/store/store.ts';
import { StoredAuthorities } from '../auth/stored-authorities.ts';
import { Authorities } from '../ca/authorities.ts';
import { AuthorityFiles } from '../ca/authority-files.ts';
import { readPrivateFile, replacePrivateFile } from '../ca/private-file.ts';
import { formatAddress } from '../config/address.ts';
import type { Config } from '../config/config.ts';

type AuthRoutes = typeof authRoutes;

export interface AuthCoreOptions {
  readonly config: Config;
  readonly audit: Pick<AuditLog, 'append' | 'search' | 'has'>;
  /** Of that log; without it: those of the files of `hostUuid` in the data directory. */
  readonly pages?: EventPages;
  readonly hostUuid: string;
  /** The audit log is the same for all auth servers: each tells what another, that died, could not. */
  readonly sharedLog?: boolean;
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
  /** The state stays open. */
  close(): Promise<void>;
}

/** What auth servers of one cluster have in common: with PostgreSQL both are there for all of them. */
export interface AuthState {
  readonly store: Store;
  readonly authorities: Authorities;
  /** Why the store cannot be used just now; undefined: it can. */
  problem(): string | undefined;
  /** undefined: the store is a file, there is nothing to tell. */
  stats: OpenedStore['stats'];
  close(): Promise<void>;
}

/** `create`: make authorities where there are none, as the daemon does. */
export async function openAuthState(
  config: Config,
  create: boolean,
  log: ApiLog,
  options: OpenStoreOptions = {},
): Promise<AuthState> {
  const { store, problem, stats } = await openSealed(config, create, log, options);
  try {
    const authorities = await openAuthorities(config, create, store);
    return {
      store,
      authorities,
      problem,
      stats,
      async close() {
        authorities.close();
        await store.close();
      },
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function openSealed(
  config: Config,
  create: boolean,
  log: ApiLog,
  options: OpenStoreOptions,
): Promise<OpenedStore> {
  const { type, encryptionKeyFile } = config.storage;
  if (create) await mkdir(config.dataDir, { recursive: true, mode: 0o700 });
  const key =
    encryptionKeyFile !== undefined
      ? await sealingKey(encryptionKeyFile)
      : await ownSealingKey(config.dataDir, create && type !== 'postgresql');
  const { store: plain, ...about } = await openStore(config, options);
  const store = new SealedStore(plain, key);
  try {
    if (!create) return { store, ...about };
    const sealed = await store.sealAll();
    if (sealed > 0) log.info({ items: sealed }, 'secrets of the store were sealed');
    if (key === undefined && type === 'postgresql') {
      log.warn(
        {},
        'the keys of the cluster are in the database as they are: storage.encryption_key_file would seal them',
      );
    }
    return { store, ...about };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/**
 * Beside a database that is a file: so that a copy of the file alone, as backups are, holds no secret of anybody's
 * authenticator app that could be read. A cluster that moved from there to PostgreSQL goes on with it.
 */
async function ownSealingKey(dataDir: string, create: boolean): Promise<SealingKey | undefined> {
  const path = join(dataDir, 'store.key');
  const text = await readPrivateFile(path);
  if (text !== undefined) return new SealingKey(text);
  if (!create) return undefined;
  const made = randomBytes(32).toString('hex');
  await replacePrivateFile(path, `${made}\n`);
  return new SealingKey(made);
}

async function sealingKey(path: string): Promise<SealingKey> {
  const text = await readPrivateFile(path);
  if (text !== undefined) return new SealingKey(text);
  throw new AppError('not_found', 'store.no_key_file', `There is no encryption key at ${path}.`, {
    hint: 'Copy it from another auth server of the cluster; for a new cluster: openssl rand -hex 32 > FILE; chmod 600 FILE',
  });
}

export async function openAuthCore(
  options: AuthCoreOptions,
  { store, authorities }: Pick<AuthState, 'store' | 'authorities'>,
): Promise<AuthCore> {
  const { config, audit, stamp, version, log } = options;
  const service = await createAuthService({
    store,
    authorities,
    audit: auditSink(audit, stamp),
    settings: settingsOf(config),
    version,
    log,
    secondary: options.secondary ?? false,
    logOf: options.sharedLog === true ? 'shared' : options.hostUuid,
  });
  const handlers: Handlers<AuthRoutes> = {
    ...service.handlers,
    emitEvents: options.emitEvents ?? refuseEvents,
    searchEvents: searchEventsHandler(
      options.pages ?? new PagedSearch(join(config.dataDir, 'log'), options.hostUuid),
    ),
  };
  return {
    authorities,
    service,
    handlers,
    transportAs: (caller) =>
      inProcessTransport({ routes: authRoutes, handlers, rules: service, caller, log }),
    close: () => service.close(),
  };
}

/** On PostgreSQL they are in the store; a cluster that moves there brings those it had as files. */
export function openAuthorities(config: Config, create: boolean, store?: Store): Promise<Authorities> {
  const order = { clusterName: config.auth.clusterName, create, now: () => new Date() };
  if (config.storage.type !== 'postgresql' || store === undefined)
    return Authorities.open({ dataDir: config.dataDir, ...order });
  const seed = () => new AuthorityFiles(config.dataDir).texts();
  return Authorities.open({ vault: new StoredAuthorities({ store, seed }), ...order });
}

function settingsOf({ auth, proxy, nodename }: Config): AuthSettings {
  const { type, secondFactor, webauthnRpId, ...authentication } = auth.authentication;
  const [publicAddr] = proxy.publicAddrs;
  return {
    clusterName: auth.clusterName,
    type,
    secondFactor,
    webauthnRpId,
    ...authentication,
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
