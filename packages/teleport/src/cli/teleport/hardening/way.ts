import type { HostFiles } from './host-files.ts';

/** One way around the record, and whether this host has closed it. */
export interface Way {
  readonly name: string;
  readonly found: string;
  readonly closed: boolean;
  /** What somebody in a session could do by it. */
  readonly why: string;
  /** Empty when closed. */
  readonly fix: string;
}

/** What a look found; the name, the reason and the fix are always the same. */
export interface Look {
  readonly name: string;
  readonly why: string;
  readonly fix: string;
  look(files: HostFiles): Promise<{ readonly found: string; readonly closed: boolean }>;
}
