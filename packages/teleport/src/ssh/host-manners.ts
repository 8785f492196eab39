// How this host receives somebody who logs in, as its configuration says: what each launch is told besides who and
// what.
import type { HostUsers } from './host-users/host-users.ts';
import type { LaunchRequest } from './launch.ts';
import type { NodeLog } from './node-log.ts';
import { pamEnvironment } from './pam-environment.ts';
import type { SessionFacts } from './session-facts.ts';

export interface HostMannersOptions {
  /** undefined: no PAM. */
  readonly pam:
    | { readonly serviceName: string; readonly environment: Readonly<Record<string, string>> }
    | undefined;
  /** ssh_service.permit_user_env. */
  readonly userEnvironment: boolean;
  /** undefined: this node makes no accounts. */
  readonly hostUsers: HostUsers | undefined;
  readonly log: NodeLog;
}

export type HostManners = Pick<LaunchRequest, 'pamService' | 'pamEnvironment' | 'userEnvironment' | 'before'>;

export function hostManners(options: HostMannersOptions): (facts: SessionFacts) => HostManners {
  return (facts) => ({
    userEnvironment: options.userEnvironment,
    ...pamOf(options, facts),
    ...accountOf(options, facts),
  });
}

function pamOf({ pam, log }: HostMannersOptions, facts: SessionFacts) {
  if (pam === undefined) return { pamService: undefined };
  const { variables, missing } = pamEnvironment(pam.environment, facts);
  if (missing.length > 0)
    log.warn(
      { sid: facts.sid, user: facts.user, missing: missing.join(' ') },
      'the user lacks traits that PAM’s environment needs',
    );
  return { pamService: pam.serviceName, pamEnvironment: variables };
}

function accountOf({ hostUsers }: HostMannersOptions, { hostUser, login, user }: SessionFacts) {
  if (hostUsers === undefined || hostUser === undefined) return {};
  return { before: () => hostUsers.obtain(login, hostUser, user) };
}
