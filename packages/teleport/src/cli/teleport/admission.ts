// Who may come in: the certificate as the CA verifies it, then the access decision as the roles are now. Joins
// the rooms `ca` and `auth` for the room `ssh`, which knows neither users nor roles.
import type { Auth } from '../../auth/auth.ts';
import type { Identity } from '../../ca/identity.ts';
import { verifyUserCertificate } from '../../ca/verify.ts';
import type { Verdict, Visitor } from '../../ssh/ssh-server.ts';
import type { AuthAttempt } from '../../ssh-transport/server.ts';

export interface AdmissionOptions {
  /** SSH blobs of the user CAs. */
  readonly trustedCas: readonly Buffer[];
  /** undefined: this process has no auth service; the certificate alone speaks. */
  readonly auth: Auth | undefined;
  readonly labels: Readonly<Record<string, string>>;
}

export async function admit(options: AdmissionOptions, attempt: AuthAttempt): Promise<Verdict<Visitor>> {
  const verdict = verifyUserCertificate({
    blob: attempt.blob,
    trustedCas: options.trustedCas,
    login: attempt.login,
    now: new Date(),
    remoteAddress: attempt.remote.host,
  });
  if (!verdict.ok) return { ok: false, reason: verdict.reason, claimedUser: verdict.claimedUser };
  const { identity } = verdict;
  if (!options.auth) return { ok: true, value: { identity, grant: grantOf(identity) } };
  const decision = await options.auth.checkAccess(identity.user, attempt.login, { labels: options.labels });
  if (!decision.ok) return { ok: false, reason: decision.reason, claimedUser: identity.user };
  return { ok: true, value: { identity, grant: grantOf(decision) } };
}

/** The roles as they are now win over what the certificate says they were: to record less or more takes effect at once. */
function grantOf({
  kinds,
  lossPolicy,
  recordSession,
}: Pick<Identity, 'kinds' | 'lossPolicy' | 'recordSession'>) {
  return { kinds, lossPolicy, recordSession };
}
