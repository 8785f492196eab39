// How this host receives somebody who logs in, as its configuration says: what each launch is told besides who and
// what.
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
  readonly log: NodeLog;
}

export type HostManners = Pick<LaunchRequest, 'pamService' | 'pamEnvironment' | 'userEnvironment'>;

export function hostManners({ pam, userEnvironment, log }: HostMannersOptions) {
  return (facts: SessionFacts): HostManners => {
    if (pam === undefined) return { pamService: undefined, userEnvironment };
    const { variables, missing } = pamEnvironment(pam.environment, facts);
    if (missing.length > 0)
      log.warn(
        { sid: facts.sid, user: facts.user, missing: missing.join(' ') },
        'the user lacks traits that PAM’s environment needs',
      );
    return { pamService: pam.serviceName, pamEnvironment: variables, userEnvironment };
  };
}
