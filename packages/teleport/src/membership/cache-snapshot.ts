// What the cluster cache keeps on disk: one file, replaced atomically, written a moment after a change so that a burst
// of changes is one write. A damaged file costs a fresh start, nothing else: auth has everything.

import { resourceDocument } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { z } from 'zod';
import { readPrivateFile, replacePrivateFile } from '../ca/private-file.ts';
import type { MembershipLog } from './membership-log.ts';
import { ResourceSet } from './resource-set.ts';

const snapshot = z.strictObject({
  version: z.literal(1),
  cluster_name: z.string(),
  heard: z.iso.datetime().optional(),
  resources: z.array(resourceDocument),
});

export interface Snapshot {
  readonly resources: ResourceSet;
  /** When auth was last heard. */
  readonly heard: Date | undefined;
}

const settleMs = 1_000;

export class CacheSnapshot {
  readonly loaded: Snapshot | undefined;
  readonly #path: string;
  readonly #cluster: string;
  readonly #log: MembershipLog;
  #pending: (() => Snapshot) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #stopped = false;

  private constructor(path: string, cluster: string, log: MembershipLog, loaded: Snapshot | undefined) {
    this.#path = path;
    this.#cluster = cluster;
    this.#log = log;
    this.loaded = loaded;
  }

  static async open(path: string, cluster: string, log: MembershipLog): Promise<CacheSnapshot> {
    const loaded = await load(path, cluster).catch((error: unknown) => {
      log.warn({ path, error: AppError.from(error).message }, 'what was kept of the cluster cannot be used');
      return undefined;
    });
    return new CacheSnapshot(path, cluster, log, loaded);
  }

  /** Nothing is written any more. */
  stop(): void {
    this.#stopped = true;
    this.#pending = undefined;
  }

  /** Soon. `read` is asked at the last moment, for the newest. */
  save(read: () => Snapshot): void {
    if (this.#stopped) return;
    this.#pending = read;
    this.#timer ??= setTimeout(() => void this.#flush(), settleMs).unref();
  }

  async close(): Promise<void> {
    await this.#flush();
  }

  #flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const read = this.#pending;
    this.#pending = undefined;
    if (read !== undefined) this.#writing = this.#writing.then(() => this.#write(read()));
    return this.#writing;
  }

  async #write({ resources, heard }: Snapshot): Promise<void> {
    const content = { version: 1, cluster_name: this.#cluster, heard, resources: [...resources] };
    try {
      await replacePrivateFile(this.#path, `${JSON.stringify(content)}\n`);
    } catch (error) {
      // The next change tries again; what is served does not depend on it.
      this.#log.warn(
        { path: this.#path, error: String(error) },
        'what is known of the cluster cannot be kept',
      );
    }
  }
}

async function load(path: string, cluster: string): Promise<Snapshot | undefined> {
  const text = await readPrivateFile(path);
  if (text === undefined) return undefined;
  const { cluster_name, heard, resources } = snapshot.parse(JSON.parse(text));
  // Of another cluster this host once belonged to.
  if (cluster_name !== cluster) return undefined;
  return { resources: new ResourceSet(resources), heard: heard === undefined ? undefined : new Date(heard) };
}
