// The auth service, joined from its parts.
import { authRoutes, type LogInProof } from '@sallyport/contracts/api/auth-routes.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Authorities } from '../ca/authorities.ts';
import type { CallContext } from './api/handler.ts';
import type { AuditSink } from './audit-sink.ts';
import type { AuthLog } from './auth-log.ts';
import type { AuthHandlers, AuthService } from './auth-service.ts';
import type { AuthSettings } from './auth-settings.ts';
import { BrowserLogIns } from './credentials/browser-log-ins.ts';
import { openChallenges } from './credentials/challenge.ts';
import { Invites } from './credentials/invites.ts';
import { LogIn, takesPasskeys } from './credentials/log-in.ts';
import { mfaHandlers } from './credentials/mfa-handlers.ts';
import { Directory } from './directory.ts';
import { inviteUrl } from './invite-url.ts';
import { endOldHosts } from './join/hosts.ts';
import { Joining } from './join/join.ts';
import { Tokens } from './join/tokens.ts';
import { Journal } from './journal.ts';
import { actorOf, type Parts } from './parts.ts';
import { Presence } from './presence.ts';
import { tellRefusal } from './refusals.ts';
import { answerWillBe, onceOnly } from './repeats.ts';
import { ResourceService } from './resource-service.ts';
import { watchResources } from './resource-watch.ts';
import { SessionTrackers } from './session-trackers.ts';
import { listConnectors } from './sso/connectors.ts';
import { signOnHandlers } from './sso/sign-on-handlers.ts';
import type { Store } from './store/store.ts';
import { makeUserCertificates } from './user-certificates.ts';

export interface CreateAuthServiceOptions {
  /** Stays the caller's: closed after the service. */
  readonly store: Store;
  readonly authorities: Authorities;
  readonly audit: AuditSink;
  readonly settings: AuthSettings;
  /** Of this product, `1.2.3`. */
  readonly version: string;
  readonly log: AuthLog;
  readonly now?: () => Date;
  /** For a process beside the daemon (tctl on the auth host), on the same store. */
  readonly secondary?: boolean;
  /** Whose audit log it is, where several auth servers share the store: see journal.ts. */
  readonly logOf?: string;
}

export async function createAuthService(options: CreateAuthServiceOptions): Promise<AuthService> {
  const { store, audit, settings, log } = options;
  if (settings.secondFactor === 'webauthn' && settings.webauthnRpId === undefined) {
    throw new AppError(
      'bad_input',
      'auth.no_rp_id',
      'second_factor is webauthn, but webauthn.rp_id is not set.',
      {
        hint: 'Set auth_service.authentication.webauthn.rp_id to the domain people reach the proxy by.',
      },
    );
  }
  const now = options.now ?? (() => new Date());
  const { logOf } = options;
  const journal = await Journal.open({
    store,
    audit,
    log,
    secondary: options.secondary === true,
    ...(logOf === undefined ? {} : { logOf }),
  });
  const parts: Parts = {
    store,
    journal,
    directory: new Directory(store, now),
    challenges: await openChallenges(store, now),
    authorities: options.authorities,
    settings,
    version: options.version,
    log,
    now,
  };
  if (options.secondary !== true) await endOldHosts(store, now());
  const tokens = new Tokens(parts);
  const joining = new Joining(parts, tokens);
  return {
    handlers: telling(parts, handlersOf(parts, tokens, joining)),
    permits: (caller, resource, verb) => parts.directory.permits(caller, resource, verb),
    admits: (caller) => parts.directory.admits(caller),
    tellRefused: (refusal) => tellRefusal(parts, refusal),
    async enrolLocalHost(host) {
      const made = await joining.enrol(host);
      return {
        sshCertificate: Buffer.from(made.ssh_certificate, 'base64'),
        tlsCertificate: made.tls_certificate,
        validBefore: new Date(made.valid_before),
      };
    },
    settingsDigest: digestOf(parts),
    close: () => journal.close(),
  };
}

/** Where links lead is each server's own matter. Under the cluster's key: there are tokens among the settings. */
function digestOf({ challenges, settings: { webAddress: _, ...settings } }: Parts): string {
  return challenges.pseudonym('settings', JSON.stringify(settings)).slice(0, 22);
}

/** Refusals for want of rights; log-in and joining have events of their own. */
const told: readonly string[] = ['auth.not_admitted', 'auth.not_allowed', 'auth.no_host'];

/** The same handlers, whose refusals reach the audit log. */
function telling(parts: Parts, handlers: AuthHandlers): AuthHandlers {
  const tell = async (name: keyof AuthHandlers, thrown: unknown, context: CallContext) => {
    const reason = AppError.from(thrown);
    const { method, path } = authRoutes[name];
    const { caller, remoteAddress, requestId } = context;
    if (told.includes(reason.code))
      await tellRefusal(parts, { call: `${method} ${path}`, caller, remoteAddress, requestId, reason });
    return thrown;
  };
  const { watch, ...plain } = handlers;
  const wrapped = Object.entries(plain).map(([name, handler]) => [
    name,
    async (request: never, context: CallContext) => {
      try {
        return await onceOnly(parts, name, request, context, async () => handler(request, context));
      } catch (thrown) {
        throw await tell(name as keyof AuthHandlers, thrown, context);
      }
    },
  ]);
  return {
    ...(Object.fromEntries(wrapped) as typeof plain),
    async *watch(request, context) {
      try {
        yield* watch(request, context);
      } catch (thrown) {
        throw await tell('watch', thrown, context);
      }
    },
  };
}

/** One entry a route: what arrives → the part whose business it is. */
function handlersOf(parts: Parts, tokens: Tokens, joining: Joining): AuthHandlers {
  const invites = new Invites(parts);
  const presence = new Presence(parts);
  const browserLogIns = new BrowserLogIns(parts.store, parts.now);
  const logIn = new LogIn(parts, browserLogIns);
  const sessions = new SessionTrackers(parts);
  const resources = new ResourceService(parts, { tokens, invites, presence });
  const admitted = async ({ caller }: CallContext) => {
    const verdict = await parts.directory.admits(caller);
    if (!verdict.ok) throw new AppError('denied', 'auth.not_admitted', `Not allowed: ${verdict.reason}.`);
  };
  return {
    ping: () => statusOf(parts),
    trust: async () => parts.authorities.trust(),

    joinChallenge: async () => ({ nonce: joining.challenge().toString('base64') }),
    join: ({ body }, { remoteAddress }) => joining.join(body, remoteAddress),
    async renewHost({ body }, context) {
      await admitted(context);
      return joining.renew(hostOf(context).hostUuid, body);
    },
    async heartbeat({ params, body }, context) {
      await admitted(context);
      return presence.heartbeat(params.kind, body, hostOf(context));
    },
    async reportSessions({ body }, context) {
      await admitted(context);
      return sessions.report(body.live, body.over, hostOf(context));
    },
    async *watch({ query }, context) {
      await admitted(context);
      yield* watchResources(parts, resources, query, context);
    },

    async mfaChallenge({ body }, context) {
      await admitted(context);
      return logIn.challenge(body.user);
    },
    async logIn({ body }, context) {
      await admitted(context);
      return logIn.logIn({
        proof: body.proof as LogInProof,
        sshPublicKey: Buffer.from(body.ssh_public_key, 'base64'),
        tlsPublicKey: body.tls_public_key,
        ttlMs: body.ttl_ms,
        remoteAddr: body.remote_addr,
        userAgent: body.user_agent,
      });
    },
    async createInvite({ params, body }, context) {
      await admitted(context);
      const { token, expires } = await invites.create(params.name, body.purpose, body.ttl_ms);
      const url = await inviteUrl(parts, body.purpose, token);
      return { token, url, expires: expires.toISOString() };
    },
    async readInvite({ body }, context) {
      await admitted(context);
      return invites.read(body.token, body.remote_addr);
    },
    async redeemInvite({ body }, context) {
      await admitted(context);
      return { user: await invites.redeem(body) };
    },
    async issueCertificates({ params, body }, context) {
      await admitted(context);
      const { certificates, capped, event } = await makeUserCertificates(parts, {
        account: await parts.directory.account(params.name),
        sshPublicKey: Buffer.from(body.ssh_public_key, 'base64'),
        tlsPublicKey: body.tls_public_key,
        ttlMs: body.ttl_ms,
        actor: actorOf(context.caller),
      });
      const answer = answerWillBe({ ...certificates, capped });
      await parts.journal.commitTold([], [event]);
      return answer;
    },

    ...signOnHandlers({ parts, browserLogIns, logIn, admitted }),
    ...mfaHandlers({ parts, presence, logIn, admitted }),

    async listResources({ params, query }, context) {
      await admitted(context);
      return { resources: [...(await resources.list(params.kind, query.secrets === true, context.caller))] };
    },
    async getResource({ params, query }, context) {
      await admitted(context);
      return resources.get(params.kind, params.name, query.secrets === true, context.caller);
    },
    async putResource({ params, query, body }, context) {
      await admitted(context);
      if (body.kind !== params.kind || body.metadata.name !== params.name)
        throw new AppError('bad_input', 'auth.bad_resource', 'The document is not the one the path names.');
      answerWillBe(body);
      return resources.put(body, query.mode, context.caller);
    },
    async deleteResource({ params }, context) {
      await admitted(context);
      answerWillBe({ deleted: params.name });
      return { deleted: await resources.delete(params.kind, params.name, context.caller) };
    },
    async listSessions(_, context) {
      await admitted(context);
      return { sessions: await sessions.list(context.caller) };
    },
    async getSession({ params }, context) {
      await admitted(context);
      return sessions.get(params.sid, context.caller);
    },
    async createToken({ body }, context) {
      await admitted(context);
      return { ...(await tokens.create(body, context.caller)), ca_pins: parts.authorities.pins() };
    },
    async rotate({ body }, context) {
      await admitted(context);
      // A repetition is refused, as not following: what it asked for is there.
      return { phases: await parts.authorities.rotate(body.type, body.phase) };
    },
  };
}

function hostOf({ caller }: CallContext) {
  if (caller.kind === 'host') return caller;
  throw new AppError('denied', 'auth.not_a_host', 'Only a host of the cluster may do this.');
}

async function statusOf({ settings, version, authorities, store }: Parts) {
  const connectors = await listConnectors(store);
  const usual = settings.connectorName ?? connectors.find(({ kind }) => kind === settings.type)?.name;
  const [major = '0'] = version.split('.');
  return {
    cluster_name: settings.clusterName,
    version,
    // Clients up to one major version behind are served.
    min_client_version: `${Math.max(0, Number(major) - 1)}.0.0`,
    ca_pins: authorities.pins(),
    auth: {
      type: settings.type,
      second_factor: settings.secondFactor,
      ...(settings.webauthnRpId === undefined ? {} : { webauthn_rp_id: settings.webauthnRpId }),
      ...(connectors.length === 0 ? {} : { connectors }),
      ...(usual === undefined ? {} : { connector_name: usual }),
      ...(settings.localAuth === false ? { local: false } : {}),
      ...(takesPasskeys(settings) ? { passwordless: true } : {}),
    },
    session_recording: settings.sessionRecording,
  };
}
