// Events of hosts that this version cannot read, kept as they came: a file a person can look at, and a later
// version can take up. Bounded; what does not fit is counted.
import { appendFile, stat } from 'node:fs/promises';

const maxBytes = 64 * 1024 * 1024;

export class UnreadableEvents {
  readonly #path: string;
  #count = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** Kept or not. */
  get count(): number {
    return this.#count;
  }

  /** Durable when it resolves. Sent again after a failure they may stand here twice. */
  async keep(
    host: string,
    events: readonly { readonly line: string; readonly reason: string }[],
  ): Promise<void> {
    if (events.length === 0) return;
    this.#count += events.length;
    const size = await stat(this.#path).then(
      (found) => found.size,
      () => 0,
    );
    if (size > maxBytes) return;
    const text = events.map(({ line, reason }) => `${JSON.stringify({ host, line, reason })}\n`).join('');
    await appendFile(this.#path, text, { mode: 0o600, flush: true });
  }
}
