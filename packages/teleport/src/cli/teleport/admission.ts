// Who may come in: the certificate as the cluster's authorities verify it, then the access decision by the roles and
// locks as this host knows them now. Joins the rooms `ca`, `auth` and `membership` for the room `ssh`, which knows
// neither users nor roles. Auth need not be reachable.
import { issuedAt, lockedOut, toLock } from '@sallyport/contracts/api/lock.ts';
import type { RoleDocument } from '@sallyport/contracts/api/resources.ts';
import { joinLogin } from '@sallyport/contracts/api/session-trackers.ts';
import { type AccessNode, decideAccess, decideJoiner } from '../../auth/access.ts';
import type { Role } from '../../auth/role.ts';
import { toRole } from '../../auth/role-document.ts';
import { readSessionMfa } from '../../auth/session-mfa.ts';
import { decideJoin } from '../../auth/sharing/join-decision.ts';
import { requirementOf } from '../../auth/sharing/requirement.ts';
import { parsePublicKeyLine } from '../../ca/public-key.ts';
import { verifyUserCertificate } from '../../ca/verify.ts';
import type { ClusterCache } from '../../membership/cluster-cache.ts';
import type { Visitor } from '../../ssh/grant.ts';
import type { LiveUser } from '../../ssh/live-connection.ts';
import type { SessionSharing } from '../../ssh/sharing/sharing.ts';
import type { Verdict } from '../../ssh/ssh-server.ts';
import type { AuthAttempt } from '../../ssh-transport/ssh-server.ts';
import { UsedCertificates } from './used-certificates.ts';

export interface AdmissionOptions {
  readonly cluster: Pick<ClusterCache, 'trust' | 'roles' | 'locks' | 'settings' | 'synced'>;
  readonly node: () => AccessNode;
  readonly now: () => Date;
}

export class Admission {
  readonly #options: AdmissionOptions;
  readonly #used: UsedCertificates;
  readonly #roles = new Memo(rolesByName);
  readonly #cas = new Memo((lines: readonly string[]) => lines.map(parsePublicKeyLine));

  constructor(options: AdmissionOptions) {
    this.#options = options;
    this.#used = new UsedCertificates(options.now());
  }

  async admit(attempt: AuthAttempt): Promise<Verdict<Visitor>> {
    const { cluster, node, now } = this.#options;
    const verdict = verifyUserCertificate({
      blob: attempt.blob,
      trustedCas: this.#cas.of(cluster.trust.ssh_user_cas),
      login: attempt.login,
      now: now(),
      remoteAddress: attempt.remote.host,
    });
    if (!verdict.ok) return { ok: false, reason: verdict.reason, claimedUser: verdict.claimedUser };
    const { identity } = verdict;
    // A host that has never heard of its cluster knows no role and no lock: it lets nobody in.
    if (!cluster.synced) {
      return { ok: false, reason: 'this host has not heard of its cluster yet', claimedUser: identity.user };
    }
    const sessionMfa = readSessionMfa(identity);
    if (sessionMfa === 'malformed') {
      const reason = 'what the certificate says of its session cannot be read';
      return { ok: false, reason, claimedUser: identity.user };
    }
    const roles = this.#rolesOf(identity.roles);
    const question = {
      user: identity.user,
      roles,
      traits: identity.traits,
      issued: issuedAt(identity.validAfter),
      node: node(),
      mfaDevice: identity.mfaDevice,
      requireSessionMfa: cluster.settings?.require_session_mfa,
      sessionMfa,
      locks: cluster.locks.map(toLock),
      now: now(),
    };
    const joinsOnly = attempt.login === joinLogin;
    const decision = joinsOnly ? decideJoiner(question) : decideAccess({ ...question, login: attempt.login });
    if (!decision.ok) return { ok: false, reason: decision.reason, claimedUser: identity.user };
    const moderation = requirementOf(identity.user, roles);
    const visitor = { grant: decision, joinsOnly, moderation };
    if (sessionMfa === undefined) return { ok: true, value: { identity, ...visitor } };
    if (!this.#used.take(identity, now())) {
      const reason =
        'the certificate is for one session, and was used before, or made before this node started';
      return { ok: false, reason, claimedUser: identity.user };
    }
    // The minute of such a certificate is for coming in; what may go on, goes on as long as the person's own.
    const lasting = { ...identity, validBefore: new Date(sessionMfa.until) };
    return { ok: true, value: { identity: lasting, mfaDevice: sessionMfa.device, ...visitor } };
  }

  /** By the roles as they are now, like every other decision here. */
  readonly refusesJoin: SessionSharing['refusesJoin'] = ({ user, roles }, owner, mode) => {
    const session = { owner: owner.user, ownerRoles: owner.roles };
    const decision = decideJoin({ user, roles: this.#rolesOf(roles), session }, mode);
    return decision.ok ? undefined : decision.reason;
  };

  /** Why somebody who came in before may not go on; undefined: they may. */
  lockedOut({ user, roles, login, identity }: LiveUser): string | undefined {
    const { cluster, node, now } = this.#options;
    const { hostUuid, hostname } = node();
    const issued = identity && issuedAt(identity.validAfter);
    const subject = { user, roles, login, hostUuid, hostname, mfaDevice: identity?.mfaDevice, issued };
    return lockedOut(subject, cluster.locks, now());
  }

  /** The roles the certificate names, as they are defined now: to record less or more takes effect at once. */
  #rolesOf(names: readonly string[]): Role[] {
    const known = this.#roles.of(this.#options.cluster.roles);
    return names.flatMap((name) => known.get(name) ?? []);
  }
}

function rolesByName(documents: readonly RoleDocument[]): ReadonlyMap<string, Role> {
  return new Map(documents.map((document) => [document.metadata.name, toRole(document)]));
}

/** Made anew when its source is another object; the cache keeps the same one while nothing changes. */
class Memo<Source extends object, Made> {
  readonly #make: (source: Source) => Made;
  #source: Source | undefined;
  #made: Made | undefined;

  constructor(make: (source: Source) => Made) {
    this.#make = make;
  }

  of(source: Source): Made {
    if (this.#made === undefined || this.#source !== source) {
      this.#source = source;
      this.#made = this.#make(source);
    }
    return this.#made;
  }
}
