// The bytes of a session that runs, between its process and its channel, and how its leader's end reaches the
// client. What is recorded first, and what becomes of the session afterwards, is the session's own matter.
import { maxParticipants } from '@sallyport/contracts/api/session-trackers.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import type { SessionChannel } from '../ssh-transport/session-channel.ts';
import type { Transfer } from './file-transfer/transfer.ts';
import type { Exit, LaunchedSession } from './launch.ts';
import { execEvent } from './session-events.ts';
import type { SessionFacts } from './session-facts.ts';
import type { Party } from './sharing/party.ts';
import {
  type ByteCounts,
  type FlowEnd,
  outputTail,
  passInput,
  passOutput,
  type RecordOutput,
  writeInto,
} from './terminal-flow.ts';

/** Silence after the leader's exit that counts as the end of a terminal somebody else keeps open, ms. */
const terminalTailMs = 500;
/** The same of pipes, which hold what was written and have an end. */
const pipesTailMs = 50;

export interface SessionFlowOptions {
  readonly channel: SessionChannel;
  readonly launched: LaunchedSession;
  readonly record: RecordOutput;
  readonly counts: ByteCounts;
  /** Resolves when the channel is gone. */
  readonly gone: Promise<void>;
  /** What passes is the copying of files. */
  readonly transfer?: Transfer | undefined;
  /** Who sees and types, where there is a terminal. */
  readonly party: Party;
}

export class SessionFlow {
  readonly #options: SessionFlowOptions;
  readonly #outputs: readonly Promise<FlowEnd>[];

  /** Bytes move from here on. */
  constructor(options: SessionFlowOptions) {
    this.#options = options;
    const { transfer, launched, channel, counts, record } = options;
    if (transfer && launched.pipes) {
      this.#outputs = transfer.start({ channel, pipes: launched.pipes, counts, record });
      return;
    }
    this.#startInput();
    this.#outputs = this.#startOutput();
  }

  #startInput(): void {
    const { channel, launched, counts, party } = this.#options;
    const { terminal, pipes } = launched;
    if (terminal) {
      const { input } = terminal;
      input.setMaxListeners(4 * maxParticipants); // each of those who type may wait for it
      party.attach((bytes) => writeInto(input, bytes));
      void passInput(channel.stdin, input, counts, (bytes) => party.ownerTyped(bytes));
    } else if (pipes) {
      // A terminal has no end of input; a pipe has, and its reader waits for it.
      void passInput(channel.stdin, pipes.stdin, counts).then(() => pipes.stdin.end());
    }
  }

  #startOutput(): readonly Promise<FlowEnd>[] {
    const { channel, launched, record, counts, party } = this.#options;
    const { terminal, pipes } = launched;
    if (terminal) return [passOutput(terminal.output, party.output, record, counts)];
    if (!pipes) return [];
    return [
      passOutput(pipes.stdout, channel.stdout, record, counts),
      passOutput(pipes.stderr, channel.stderr, record, counts),
    ];
  }

  /** Tells the client how its leader ended and closes the channel, when sshd would. */
  async followLeader(): Promise<Exit | AppError> {
    const { channel, launched, counts, gone } = this.#options;
    const outputs = Promise.all(this.#outputs);
    const exit = await launched.exited.catch((thrown: unknown) => AppError.from(thrown));
    // First what the leader left in its terminal or pipes, as long as it moves: no success is told of what could not be
    // recorded. Whoever holds the other end of a pipe (a background task) keeps the channel open, as with sshd, but not
    // the status.
    const ends = await outputTail(outputs, counts, launched.terminal ? terminalTailMs : pipesTailMs);
    if (ends?.includes('forbidden')) channel.exit(255);
    else tellExit(channel, exit);
    if (launched.pipes) await Promise.race([outputs, gone]);
    await channel.close();
    return exit;
  }

  /** The client is gone. A terminal hangs up; a program writing into a pipe meets EPIPE. */
  hangUp(): void {
    const { launched } = this.#options;
    launched.hangUp();
    launched.terminal?.close();
    launched.pipes?.stdin.destroy();
    launched.pipes?.stdout.destroy();
    launched.pipes?.stderr.destroy();
  }
}

function tellExit(channel: SessionChannel, exit: Exit | AppError): void {
  if (exit instanceof AppError) channel.exit(255);
  else if ('code' in exit) channel.exit(exit.code);
  else channel.exitSignal(exit.signal, exit.coreDumped, '');
}

export function execOutcome(facts: SessionFacts, exit: Exit | AppError): EventDraft {
  if (exit instanceof AppError) return execEvent(facts, undefined, exit.message);
  if ('signal' in exit) return execEvent(facts, undefined, `ended by SIG${exit.signal}`);
  return exit.code === 0 ? execEvent(facts, 0) : execEvent(facts, exit.code, `exit status ${exit.code}`);
}
