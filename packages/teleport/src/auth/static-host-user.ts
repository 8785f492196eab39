// Which static host users a node has: pure, by labels.
import type { StaticHostUserDocument } from '@sallyport/contracts/api/resources.ts';
import { type AccessNode, selects } from './access.ts';

type Matcher = StaticHostUserDocument['spec']['matchers'][number];

export interface StaticHostUser {
  readonly login: string;
  readonly groups: readonly string[];
  readonly sudoers: readonly string[];
  readonly shell: string | undefined;
  readonly uid: number | undefined;
  readonly gid: number | undefined;
  /** An account that is there already is taken over. */
  readonly takesOver: boolean;
}

export interface StaticHostUsers {
  readonly wanted: readonly StaticHostUser[];
  /** Names of resources with several matchers for this node: which of them is meant cannot be known. */
  readonly ambiguous: readonly string[];
}

export function staticHostUsers(
  documents: readonly StaticHostUserDocument[],
  node: AccessNode,
): StaticHostUsers {
  const wanted: StaticHostUser[] = [];
  const ambiguous: string[] = [];
  for (const { metadata, spec } of documents) {
    // By a label whose value is unknown now, a matcher may be meant or not.
    const [matcher, second] = spec.matchers.filter((each) => selects(selectorOf(each), node, true));
    if (second !== undefined) ambiguous.push(metadata.name);
    else if (matcher !== undefined && selects(selectorOf(matcher), node))
      wanted.push(accountOf(metadata.name, matcher));
  }
  return { wanted, ambiguous };
}

function selectorOf({ node_labels }: Matcher): Readonly<Record<string, readonly string[]>> {
  return Object.fromEntries(node_labels.map(({ name, values }) => [name, values]));
}

function accountOf(login: string, matcher: Matcher): StaticHostUser {
  return {
    login,
    groups: matcher.groups ?? [],
    sudoers: matcher.sudoers ?? [],
    shell: matcher.default_shell,
    uid: matcher.uid,
    gid: matcher.gid,
    takesOver: matcher.take_ownership_if_user_exists ?? false,
  };
}
