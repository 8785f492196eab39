// Who may call a route: one pure decision, taken before anything of the request is read. A handler may refuse
// more than this, never less.
import type { Access, RuledResource, Verb } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Caller } from './handler.ts';

/** Whether the roles of a user allow the verb (`allow.rules` without a `deny.rules` against it). */
export type Allows = (
  caller: Extract<Caller, { readonly kind: 'user' }>,
  resource: RuledResource,
  verb: Verb,
) => boolean;

/** `undefined`: go ahead. */
export function refusal(access: Access, caller: Caller, allows: Allows): AppError | undefined {
  if (access === 'anyone' || caller.kind === 'admin') return undefined;
  if (caller.kind === 'anyone') {
    return new AppError('denied', 'api.no_certificate', 'This call needs a certificate of the cluster.', {
      hint: 'Log in, or join the host to the cluster, first.',
    });
  }
  return caller.kind === 'host' ? refuseHost(access, caller) : refuseUser(access, caller, allows);
}

type Restricted = Exclude<Access, 'anyone'>;

function refuseHost(
  access: Restricted,
  caller: Extract<Caller, { readonly kind: 'host' }>,
): AppError | undefined {
  const wanted = access.host;
  if (wanted === true || wanted?.some((role) => caller.roles.includes(role))) return undefined;
  const who = wanted === undefined ? 'no host may' : `only a host with the role ${wanted.join(' or ')} may`;
  return new AppError('denied', 'api.not_allowed', `The host may not do this: ${who}.`);
}

function refuseUser(
  access: Restricted,
  caller: Extract<Caller, { readonly kind: 'user' }>,
  allows: Allows,
): AppError | undefined {
  const { user } = access;
  if (user === undefined) {
    return new AppError('denied', 'api.not_allowed', 'Users may not do this; hosts of the cluster may.');
  }
  if (user === true || allows(caller, user.resource, user.verb)) return undefined;
  return new AppError(
    'denied',
    'api.not_allowed',
    `${caller.user} may not ${user.verb} ${user.resource}: no role allows it, or one denies it.`,
  );
}
