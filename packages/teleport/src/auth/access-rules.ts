// May somebody with these roles do this to the cluster's resources? Pure. Deny wins; silence means no.
import type { RuledResource, Verb } from '@sallyport/contracts/api/route.ts';
import type { Role, Rule } from './role.ts';

export type RuleVerdict = { readonly ok: true } | { readonly ok: false; readonly reason: string };

export function decideRule(roles: readonly Role[], resource: RuledResource, verb: Verb): RuleVerdict {
  const hit = (rules: readonly Rule[] = []) => rules.some((rule) => covers(rule, resource, verb));
  const denying = roles.filter((role) => hit(role.deny.rules)).map((role) => role.name);
  if (denying.length > 0) return { ok: false, reason: `denied by role ${denying.sort().join(', ')}` };
  if (roles.some((role) => hit(role.allow.rules))) return { ok: true };
  const names = roles.map((role) => role.name).sort();
  return { ok: false, reason: `no role allows to ${verb} ${resource} (roles: ${names.join(', ')})` };
}

function covers({ resources, verbs }: Rule, resource: RuledResource, verb: Verb): boolean {
  return (
    (resources.includes('*') || resources.includes(resource)) && (verbs.includes('*') || verbs.includes(verb))
  );
}
