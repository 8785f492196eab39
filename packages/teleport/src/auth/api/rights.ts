// Who may call a route: decided before anything of the request is read. A handler may refuse more than this,
// never less.
import type { Access, RuledResource, Verb } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Caller } from './handler.ts';

type Verdict = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** What is asked about a caller; the auth service answers. */
export interface CallerRules {
  /** Whether the roles of a user, as they are now, allow the verb (`allow.rules`, less `deny.rules`). */
  permits(caller: Caller, resource: RuledResource, verb: Verb): Promise<Verdict>;
  /** Whether the caller is still somebody: neither deleted nor locked. Absent: the handlers ask by themselves. */
  admits?(caller: Caller): Promise<Verdict>;
}

/** `undefined`: go ahead. */
export async function refusal(
  access: Access,
  caller: Caller,
  rules: CallerRules,
): Promise<AppError | undefined> {
  if (access === 'anyone' || caller.kind === 'admin') return undefined;
  if (caller.kind === 'anyone') {
    return new AppError('denied', 'api.no_certificate', 'This call needs a certificate of the cluster.', {
      hint: 'Log in, or join the host to the cluster, first.',
    });
  }
  const refused =
    caller.kind === 'host' ? refuseHost(access, caller.roles) : await refuseUser(access, caller, rules);
  if (refused !== undefined) return refused;
  const admitted = await rules.admits?.(caller);
  return admitted?.ok === false ? new AppError('denied', 'api.not_admitted', admitted.reason) : undefined;
}

type Restricted = Exclude<Access, 'anyone'>;

function refuseHost({ host: wanted }: Restricted, roles: readonly string[]): AppError | undefined {
  if (wanted === true || wanted?.some((role) => roles.includes(role))) return undefined;
  const who = wanted === undefined ? 'no host may' : `only a host with the role ${wanted.join(' or ')} may`;
  return new AppError('denied', 'api.not_allowed', `The host may not do this: ${who}.`);
}

async function refuseUser(
  { user: wanted }: Restricted,
  caller: Extract<Caller, { readonly kind: 'user' }>,
  rules: CallerRules,
): Promise<AppError | undefined> {
  if (wanted === undefined) {
    return new AppError('denied', 'api.not_allowed', 'Users may not do this; hosts of the cluster may.');
  }
  if (wanted === true) return undefined;
  const verdict = await rules.permits(caller, wanted.resource, wanted.verb);
  return verdict.ok ? undefined : new AppError('denied', 'api.not_allowed', verdict.reason);
}
