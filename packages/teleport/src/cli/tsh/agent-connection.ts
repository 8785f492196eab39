// The person's own agent, for -A: each use is a new connection to it.
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { AppError } from '@sallyport/contracts/errors.ts';

export function agentConnection(): Duplex {
  const path = process.env['SSH_AUTH_SOCK'];
  if (path !== undefined && path !== '') return connect(path);
  throw new AppError('not_found', 'tsh.no_agent', 'There is no agent to forward: SSH_AUTH_SOCK is not set.', {
    hint: 'Start one: eval "$(ssh-agent)".',
  });
}
