// What a session that copies files has besides a session: somebody who follows what passes, and the log of it.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { SessionChannel } from '../../ssh-transport/session-channel.ts';
import type { SessionPipes } from '../launch.ts';
import type { SessionFacts } from '../session-facts.ts';
import { type ByteCounts, type FlowEnd, passOutput, type RecordOutput } from '../terminal-flow.ts';
import type { Follower } from './follower.ts';
import type { ScpCommand } from './scp-command.ts';
import { ScpFollower } from './scp-follower.ts';
import { SftpFollower } from './sftp-follower.ts';
import { TransferFlow } from './transfer-flow.ts';
import { type Emit, TransferLog } from './transfer-log.ts';

/** Our own server instead of a shell, or the host's scp, run by the account's shell as the client asked. */
export type TransferKind = 'sftp' | ScpCommand;

export interface TransferOptions {
  readonly kind: TransferKind;
  readonly facts: SessionFacts;
  readonly emit: Emit;
  /** Ends the session. */
  readonly end: (reason: AppError) => void;
}

export interface TransferStreams {
  readonly channel: SessionChannel;
  readonly pipes: SessionPipes;
  readonly counts: ByteCounts;
  readonly record: RecordOutput;
}

export class Transfer {
  readonly #options: TransferOptions;
  readonly #follower: Follower;
  readonly #log: TransferLog;
  #flow: TransferFlow | undefined;

  constructor(options: TransferOptions) {
    const { kind, facts } = options;
    this.#options = options;
    this.#follower = kind === 'sftp' ? new SftpFollower(facts) : new ScpFollower(facts, kind);
    this.#log = new TransferLog(options.emit, () => this.#flow?.resumeInput());
  }

  /** Bytes move from here on. The directions that end: output, and what the program says of its troubles. */
  start({ channel, pipes, counts, record }: TransferStreams): readonly Promise<FlowEnd>[] {
    const flow = new TransferFlow({
      ...{ channel, pipes, counts, record },
      follower: this.#follower,
      log: this.#log,
      broken: (what) => this.#options.end(notFollowed(what)),
    });
    this.#flow = flow;
    return [flow.output, passOutput(pipes.stderr, channel.stderr, record, counts)];
  }

  /** Resolves when the log has all of it. */
  async finish(): Promise<void> {
    this.#log.push(this.#follower.end());
    await this.#log.drained();
  }
}

/** What cannot be read cannot be recorded. */
function notFollowed(what: string): AppError {
  return new AppError('bad_input', 'transfer.protocol', `The file transfer cannot be recorded: ${what}.`);
}
