// Connections: what a connect, its later outcome and the close of its socket become in the audit log. The three
// share `socket`; only the first is a session.network, so that one connect is one documented event.
import { type EventDraft, wireInteger } from '@sallyport/contracts/events/event.ts';
import type { ConnectEvent } from '@sallyport/kernel/kernel-event.ts';
import { errnoName } from './errno-name.ts';
import { kernelText } from './kernel-text.ts';
import { type CorrelationContext, taskBlock } from './task-block.ts';

const nsPerMs = 1e6;
// Linux numbers, include/linux/socket.h and include/uapi/linux/in.h.
const AF_UNIX = 1;
const AF_INET6 = 10;
const protocols = new Map([
  [1, 'icmp'],
  [6, 'tcp'],
  [17, 'udp'],
  [58, 'icmpv6'],
  [132, 'sctp'],
  [136, 'udplite'],
  [255, 'raw'],
  [262, 'mptcp'],
]);

export function correlateConnect(event: ConnectEvent, context: CorrelationContext): EventDraft {
  const base = { ...taskBlock(event, context), ...socketEnds(event), ...errorField(event) };
  const outcome = networkOutcome(event);
  switch (event.type) {
    case 'connect':
      return {
        event: 'session.network',
        code: 'T4002I',
        ...base,
        ...(outcome === 'none' ? {} : { outcome }),
        operation: event.operation === 'send' ? 1 : 0,
        action: 0, // we watch; nothing is denied by us
      };
    case 'connect_outcome':
      return {
        event: 'session.network.outcome',
        code: 'T4012I',
        ...base,
        outcome,
        duration_ms: Number(event.durationNs) / nsPerMs,
      };
    case 'socket_close':
      return {
        event: 'session.network.close',
        code: 'T4011I',
        ...base,
        ...(outcome === 'none' ? {} : { outcome }),
        bytes_sent: wireInteger(event.bytesSent),
        bytes_received: wireInteger(event.bytesReceived),
        duration_ms: Number(event.durationNs) / nsPerMs,
      };
  }
}

function socketEnds(event: ConnectEvent) {
  const unix = event.family === AF_UNIX;
  return {
    src_addr: event.srcAddr,
    ...(event.srcPort > 0 ? { src_port: event.srcPort } : {}),
    dst_addr: event.dstAddr,
    dst_port: event.dstPort,
    ...(unix ? {} : { version: event.family === AF_INET6 ? (6 as const) : (4 as const) }),
    protocol: unix ? 'unix' : (protocols.get(event.protocol) ?? String(event.protocol)),
    ...(event.unixPath === undefined ? {} : kernelText('unix_path', event.unixPath)),
    ...(event.socket === 0n ? {} : { socket: wireInteger(event.socket) }),
  };
}

function errorField(event: ConnectEvent) {
  return event.outcome === 'failed' && event.error > 0 ? { error: errnoName(event.error) } : {};
}

type NetworkOutcome =
  | Exclude<ConnectEvent['outcome'], 'failed'>
  | 'refused'
  | 'timeout'
  | 'reset'
  | 'unreachable'
  | 'denied'
  | 'failed';

const failures: Readonly<Record<string, NetworkOutcome>> = {
  ECONNREFUSED: 'refused',
  ETIMEDOUT: 'timeout',
  ECONNRESET: 'reset',
  ENETUNREACH: 'unreachable',
  EHOSTUNREACH: 'unreachable',
  ENETDOWN: 'unreachable',
  EHOSTDOWN: 'unreachable',
  EPERM: 'denied',
  EACCES: 'denied',
};

function networkOutcome(event: ConnectEvent): NetworkOutcome {
  if (event.outcome !== 'failed') return event.outcome;
  return failures[errnoName(event.error)] ?? 'failed';
}
