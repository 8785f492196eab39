// What becomes of a refused SSH log-in: a line in the service log, and an audit event when somebody was named.
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import { EventStamp } from '../audit/session-emitter.ts';
import { formatAddress } from '../config/address.ts';
import type { Refusal } from '../ssh-transport/ssh-server.ts';
import type { ProxyOptions } from './proxy.ts';

/** A port scanner that names nobody is the service log's business. */
const audited = new Set<Refusal['kind']>(['denied', 'bad-signature', 'max-auth-tries', 'no-credentials']);

export type ProxyEvent = (draft: EventDraft) => void;

/** Events of this proxy. A log that does not take one is told in the service log: nobody waits for the audit here. */
export function proxyEvents(options: Pick<ProxyOptions, 'audit' | 'cluster' | 'log' | 'now'>): ProxyEvent {
  const { audit, cluster, log, now } = options;
  return (draft) => {
    const stamp = new EventStamp({ clusterName: cluster.trust.cluster_name, now: () => now().getTime() });
    audit.append([stamp.stamp(draft)]).catch((error: unknown) => {
      log.error({ error: String(error), event: draft.event }, 'an audit event was lost');
    });
  };
}

export function serverBlock(options: Pick<ProxyOptions, 'config' | 'identity' | 'version'>) {
  return {
    namespace: 'default',
    server_id: options.identity.hostUuid,
    server_hostname: options.config.nodename,
    server_version: options.version,
  };
}

export function connectionBlock({ local, remote }: Pick<Refusal, 'local' | 'remote'>) {
  return { 'addr.local': formatAddress(local), 'addr.remote': formatAddress(remote), proto: 'ssh' };
}

export function tellRefusal(
  options: Pick<ProxyOptions, 'config' | 'identity' | 'version' | 'log'>,
  event: ProxyEvent,
  refusal: Refusal,
): void {
  const { kind, reason, login } = refusal;
  options.log.info(
    { kind, remote: formatAddress(refusal.remote), login, reason },
    'an SSH log-in was refused',
  );
  if (!audited.has(kind) || login === undefined) return;
  event({
    event: 'auth',
    code: 'T3007W',
    login,
    ...serverBlock(options),
    ...connectionBlock(refusal),
    success: false,
    error: reason,
  });
}
