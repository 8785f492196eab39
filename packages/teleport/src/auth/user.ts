// A person (or bot) of the cluster. What they may do is in their roles.

export interface User {
  readonly name: string;
  readonly roles: readonly string[];
  /** Named lists a role can refer to as `{{internal.<trait>}}`; `logins` are the host accounts granted to this user. */
  readonly traits: Readonly<Record<string, readonly string[]>>;
  /** RFC 3339 UTC. */
  readonly created: string;
  /** The identity provider's connector whose word this user is. Absent: a user of the cluster's own. */
  readonly provider?: string | undefined;
  /** Which person of that provider: whose second factors are whose. */
  readonly owner?: string | undefined;
}
