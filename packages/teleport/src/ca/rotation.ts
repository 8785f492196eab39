// The phases of replacing an authority without cutting anybody off. Pure; authorities.ts carries it out.
//
//   standby         One authority. It signs, and only it is trusted.
//   init            A new one is made and trusted beside the old; nothing is signed with it yet. Services learn of
//                   it at once through their watch, people at their next log-in, OpenSSH clients and servers when
//                   their files are written anew (`tctl auth export`, `tsh config`). Wait for those you care about.
//   update_clients  What people show changes first: the new *user* authority signs (every server trusts it since
//                   init). The *host* authority still signs with the old one: whoever has not logged in since init
//                   would not know the new one. Stay here as long as a user certificate may live.
//   update_servers  What servers show changes: the new *host* authority signs, and every host renews its
//                   certificates within seconds. Certificates of the old ones are still good.
//   standby         The old authority is forgotten, its private keys deleted; what it signed is worth nothing.
//   rollback        From any phase but standby: the old authority signs again, both stay trusted while hosts renew
//                   and people log in again; then standby forgets the new one.
import type { CertAuthorityDocument } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';

/** `host` signs what servers show, `user` what people show. Never one for the other. */
export type AuthorityType = 'host' | 'user';
export type RotationPhase = CertAuthorityDocument['spec']['rotation']['phase'];
export const rotationPhases = ['standby', 'init', 'update_clients', 'update_servers', 'rollback'] as const;

export interface Rotation {
  readonly phase: RotationPhase;
  /** Name of the keys the rotation began with; in standby, the only ones. */
  readonly current: string;
  /** Name of the keys it leads to. Absent in standby. */
  readonly next?: string | undefined;
  /** When it left standby. */
  readonly started?: string | undefined;
}

const following: Readonly<Record<RotationPhase, readonly RotationPhase[]>> = {
  standby: ['init'],
  init: ['update_clients', 'rollback'],
  update_clients: ['update_servers', 'rollback'],
  update_servers: ['standby', 'rollback'],
  rollback: ['standby'],
};

/** Keys by name: the one that signs first, then the other that is trusted. */
export function trustedNames(type: AuthorityType, { phase, current, next }: Rotation): string[] {
  if (next === undefined) return [current];
  const signsNext = phase === 'update_servers' || (phase === 'update_clients' && type === 'user');
  return signsNext ? [next, current] : [current, next];
}

/** Throws `ca.rotation_order` when `to` does not follow. `fresh` names the keys of a rotation that begins. */
export function advance(rotation: Rotation, to: RotationPhase, fresh: string, now: Date): Rotation {
  const { phase, current, next } = rotation;
  if (!following[phase].includes(to)) {
    throw new AppError('conflict', 'ca.rotation_order', `A rotation in ${phase} cannot go to ${to}.`, {
      hint: `What can follow: ${following[phase].join(', ')}.`,
    });
  }
  if (to === 'init') return { phase: to, current, next: fresh, started: now.toISOString() };
  if (to !== 'standby') return { ...rotation, phase: to };
  return { phase: to, current: phase === 'rollback' ? current : (next ?? current) };
}
