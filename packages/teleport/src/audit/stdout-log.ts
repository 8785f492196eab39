// Events on the standard output, for a host whose journal or container runtime gathers them. Beside another log
// only: what went out cannot be searched.
import { AppError } from '@sallyport/contracts/errors.ts';
import { type AuditEvent, serialize } from '@sallyport/contracts/events/event.ts';
import type { AuditLog } from './audit-log.ts';

export class StdoutLog implements AuditLog {
  readonly #out: NodeJS.WritableStream;

  constructor(out: NodeJS.WritableStream = process.stdout) {
    this.#out = out;
  }

  /** Resolves when the system took them; whoever reads is out of our hands. */
  append(events: readonly AuditEvent[]): Promise<void> {
    const lines = events.map((event) => `${serialize(event)}\n`).join('');
    return new Promise((resolve, reject) => {
      this.#out.write(lines, (cause) => {
        if (!cause) return resolve();
        reject(
          new AppError('unavailable', 'audit.write_failed', 'The standard output takes no events.', {
            cause,
          }),
        );
      });
    });
  }

  async *search(): AsyncGenerator<AuditEvent> {}

  async close(): Promise<void> {}
}
