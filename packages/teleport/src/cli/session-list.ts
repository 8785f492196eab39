// Live sessions as `tsh sessions ls` and `tctl sessions ls` print them.
import type { SessionTracker } from '@sallyport/contracts/api/session-trackers.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { print, printJson, table } from './output.ts';

export interface SessionListFlags {
  readonly format: string;
}

export async function printSessions(
  sessions: readonly SessionTracker[],
  { format }: SessionListFlags,
): Promise<void> {
  if (format === 'json') printJson(sessions);
  else if (format === 'yaml') print((await import('../config/yaml-text.ts')).toYaml(sessions).trimEnd());
  else if (format === 'text') print(sessionTable(sessions));
  else throw unknownFormat(format);
}

function unknownFormat(format: string): AppError {
  const message = `--format must be text, json or yaml, not "${format}".`;
  return new AppError('bad_input', 'cli.bad_format', message);
}

function sessionTable(sessions: readonly SessionTracker[]): string {
  if (sessions.length === 0) return 'No live sessions.';
  const rows = sessions.map(({ metadata, spec }) => [
    metadata.name,
    spec.state,
    spec.owner,
    `${spec.login}@${spec.hostname}`,
    spec.participants
      .slice(1)
      .map(({ user, mode }) => `${user} (${mode})`)
      .join(', '),
    spec.started,
    spec.join_modes.join(','),
  ]);
  return table(['ID', 'State', 'Owner', 'Target', 'Joined By', 'Started (UTC)', 'You May Join As'], rows);
}
