// What a role wants of the host for a visitor's account. Plain data: it is in the journal of the session, too.

export interface WantedHostUser {
  readonly mode: 'keep' | 'insecure-drop';
  /** Besides the group that marks accounts of ours. */
  readonly groups: readonly string[];
  /** Lines of sudoers(5) without the name in front. */
  readonly sudoers: readonly string[];
  /** undefined: bash, or sh where there is none. */
  readonly shell: string | undefined;
}

/** An account this host has whoever logs in (a `static_host_user`). */
export interface StaticAccount {
  readonly login: string;
  readonly groups: readonly string[];
  readonly sudoers: readonly string[];
  readonly shell: string | undefined;
  /** undefined: what the host gives. */
  readonly uid: number | undefined;
  readonly gid: number | undefined;
  /** An account without our mark is taken over. */
  readonly takesOver: boolean;
}

/** The documented groups that mark accounts made by an agent. */
export const markGroups = { keep: 'teleport-keep', 'insecure-drop': 'teleport-system' } as const;
export const staticMark = 'teleport-static';

/** As useradd(8) and groupadd(8) of Debian take them; a leading dash would be an option. */
export const accountName = /^[a-z_][a-z0-9_.-]{0,31}$/;
export const groupName = /^[a-z_][a-z0-9_-]{0,31}$/;
