// The person's own agent, for -A: each use is a new connection to it.
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';

/** undefined: there is none to lend. */
export function agentConnection(): (() => Duplex) | undefined {
  const path = process.env['SSH_AUTH_SOCK'];
  return path === undefined || path === '' ? undefined : () => connect(path);
}
