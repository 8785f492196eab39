// Where the auth service keeps everything: keys with texts. Small on purpose, so that SQLite beside the daemon and
// PostgreSQL under several daemons fit behind it; every implementation runs store.contract.ts.
// Keys are paths (`role/access`); what the texts mean is the business of who writes them.

export interface Item {
  readonly key: string;
  readonly value: string;
  /** Changes with every write, and never comes back. */
  readonly revision: string;
  /** After it the item is gone for every reader, swept or not. */
  readonly expires: Date | undefined;
}

/** What a write expects to find. */
export type Condition = 'anything' | 'something' | 'nothing' | { readonly revision: string };

export type Write =
  | {
      readonly type: 'put';
      readonly key: string;
      readonly value: string;
      readonly expires?: Date | undefined;
      /** Default: anything. */
      readonly expect?: Condition;
    }
  | { readonly type: 'delete'; readonly key: string; readonly expect?: Condition }
  /** Writes nothing; the commit fails when the key is not as expected. */
  | { readonly type: 'check'; readonly key: string; readonly expect: Condition };

/** `put`: the item as it is when the change is read, which may be later than the change: writes that follow each other fast come as one. */
export type Change = (
  | { readonly type: 'put'; readonly item: Item }
  | { readonly type: 'delete'; readonly key: string }
) & {
  /** Whoever was told this change, and those before it, knows all there is up to here. See `changesSince`. */
  readonly position?: string;
};

/** The last change of each key, and up to where that is all. */
export interface Changes {
  readonly changes: readonly Change[];
  readonly position: string;
}

export interface RangeOptions {
  /** Keys after this one only. */
  readonly after?: string;
  /** Default: all. */
  readonly limit?: number;
}

export interface WatchOptions {
  readonly prefixes: readonly string[];
  readonly signal?: AbortSignal;
  /** Changes that may wait for a slow reader; one more and the watch rejects with `limit`. Default 4096. */
  readonly maxQueued?: number;
}

export interface Store {
  get(key: string): Promise<Item | undefined>;
  /** Every item whose key begins with `prefix`, by key (bytes), ascending. */
  range(prefix: string, options?: RangeOptions): Promise<readonly Item[]>;
  /**
   * All writes or none, durably; what was put comes back, in the order of the writes. Rejects with `conflict`,
   * code `store.conflict`, when some key is not what its write expects. A key occurs once in a commit.
   */
  commit(writes: readonly Write[]): Promise<readonly Item[]>;
  /**
   * Every change from the moment of the call, by whichever process. To know a set and keep knowing it: watch first,
   * then range, then read on. Ends when the signal aborts or the store closes; rejects with `limit`
   * (`store.watch_overflow`) when the reader fell behind: begin anew.
   */
  watch(options: WatchOptions): AsyncIterable<Change>;
  /** A place in the order of changes: all that was committed before the call is before it. Letters, digits, dashes. */
  position(): Promise<string>;
  /**
   * What changed below the prefixes after a place, each key as it is now. undefined: not all of it is kept any more, or
   * that is no place of this store's (it was put back from a backup since): begin with everything.
   */
  changesSince(position: string, prefixes: readonly string[]): Promise<Changes | undefined>;
  close(): Promise<void>;
}
