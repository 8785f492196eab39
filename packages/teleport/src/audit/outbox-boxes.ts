// The outboxes of a host: one a daemon. Usually there is one, `outbox`. A daemon that takes over while the one before it
// drains begins one of its own beside (`outbox-2`, …), since a box has one writer. What a dead daemon left is sent by
// one that lives, and then it is gone.
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';

export interface OutboxBoxesOptions {
  readonly dataDir: string;
  /** This daemon, and which others live. */
  readonly generation: string;
  readonly isLiving: (generation: string | undefined) => boolean;
}

/** Of a daemon that died. */
export interface LeftBox {
  readonly dir: string;
  /** undefined: of one that could not live beside another. */
  readonly generation: string | undefined;
}

/** Each is a daemon that drains: people who reload every few minutes for hours. */
const maxBoxes = 64;

export class OutboxBoxes {
  /** Ours to write to. */
  readonly own: string;
  readonly #options: OutboxBoxesOptions;

  private constructor(options: OutboxBoxesOptions, own: string) {
    this.#options = options;
    this.own = own;
  }

  /** One at a time: whoever calls holds the lock of the data directory. */
  static async open(options: OutboxBoxesOptions): Promise<OutboxBoxes> {
    for (let n = 1; n <= maxBoxes; n++) {
      const dir = join(options.dataDir, n === 1 ? 'outbox' : `outbox-${n}`);
      if (options.isLiving(await ownerOf(dir))) continue;
      await mkdir(dir, { recursive: true, mode: 0o700 });
      await own(dir, options.generation);
      return new OutboxBoxes(options, dir);
    }
    throw new AppError('limit', 'audit.outboxes', `${maxBoxes} daemons of this host live at a time.`, {
      hint: 'Wait until some have drained, or stop them.',
    });
  }

  /** Takes over what the dead left; each box once. One that cannot be opened is tried again the next time. */
  async adopt<T>(open: (left: LeftBox) => Promise<T>): Promise<T[]> {
    const { dataDir, generation, isLiving } = this.#options;
    const adopted: T[] = [];
    for (const name of (await readdir(dataDir)).filter((each) => /^outbox(-\d+)?$/.test(each)).sort()) {
      const dir = join(dataDir, name);
      const owner = await ownerOf(dir);
      if (dir === this.own || owner === generation || isLiving(owner)) continue;
      adopted.push(await open({ dir, generation: owner }));
      await own(dir, generation);
    }
    return adopted;
  }
}

/** Everything of it is with the auth service. */
export async function removeBox(dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true });
}

async function ownerOf(dir: string): Promise<string | undefined> {
  const text = await readFile(join(dir, 'owner'), 'utf8').catch(() => '');
  return text.trim() === '' ? undefined : text.trim();
}

/** Not atomic, and need not be: half a name is nobody's. */
async function own(dir: string, generation: string): Promise<void> {
  await writeFile(join(dir, 'owner'), `${generation}\n`, { mode: 0o600 });
}
