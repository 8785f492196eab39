// The host certificate's life: looked at once an hour, issued anew past half of it (ca/host-identity.ts), and shown
// to whoever connects from then on. Living connections keep what they have checked.
import type { HostIdentity } from '../../ca/host-identity.ts';
import type { NodeLog } from '../../ssh/node-log.ts';
import type { SshNode } from '../../ssh/ssh-server.ts';

const checkMs = 3_600_000;

export interface HostKeyRenewal {
  /** True: there is a new certificate. */
  renew(): Promise<boolean>;
  stop(): void;
}

export interface HostKeyRenewalOptions {
  readonly identity: Pick<HostIdentity, 'renew' | 'privateKey' | 'certificate'>;
  readonly ssh: Pick<SshNode, 'setHostKeys'>;
  readonly log: NodeLog;
  readonly everyMs?: number;
}

export function keepHostKeys({ identity, ssh, log, everyMs }: HostKeyRenewalOptions): HostKeyRenewal {
  const renew = async () => {
    if (!(await identity.renew())) return false;
    ssh.setHostKeys(hostKeysOf(identity));
    log.info({}, 'the host certificate was renewed');
    return true;
  };
  const timer = setInterval(() => {
    renew().catch((err) =>
      log.error({ err }, 'the host certificate could not be renewed; tried again in an hour'),
    );
  }, everyMs ?? checkMs).unref();
  return { renew, stop: () => clearInterval(timer) };
}

export function hostKeysOf(identity: Pick<HostIdentity, 'privateKey' | 'certificate'>) {
  return [{ privateKey: identity.privateKey, certificate: identity.certificate }];
}
