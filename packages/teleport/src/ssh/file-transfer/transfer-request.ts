// Whether what a client asks for copies files, and why it may not.
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import { copiesFiles, parseScpCommand } from './scp-command.ts';
import type { TransferKind } from './transfer.ts';

/** A subsystem, a command, or neither: a shell. */
export interface Asked {
  readonly sid: string;
  readonly subsystem?: 'sftp' | undefined;
  readonly command: string | undefined;
  readonly pty: unknown;
}

/** How it is followed. undefined: it is a session like any other, recorded with all it puts out. */
export function transferOf({ subsystem, command, pty }: Asked): TransferKind | undefined {
  if (subsystem) return subsystem;
  // A terminal translates bytes: no copy gets through one.
  return command === undefined || pty !== undefined ? undefined : parseScpCommand(command);
}

/** For the log, where somebody asked who may not copy. undefined: no copy is asked for. */
export function disallowed(asked: Asked, reason: string): EventDraft | undefined {
  const { sid, subsystem, command } = asked;
  if (subsystem) return { event: 'sftp', code: 'TS020E', user: '', sid, error: reason };
  if (command === undefined || !copiesFiles(command)) return undefined;
  const known = parseScpCommand(command);
  const what = known && { path: known.path, action: known.action };
  return { event: 'scp', code: 'T3010E', user: '', sid, command, ...what, exitError: reason };
}
