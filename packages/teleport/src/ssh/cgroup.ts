/** A session's own cgroup v2 directory: `<cgroup_path><root_path>/<sid>`. */
export interface Cgroup {
  readonly dir: string;
  /** What `bpf_get_current_cgroup_id()` answers: the inode number of the directory. */
  readonly id: bigint;
  /** Live processes, descendants' cgroups included. */
  procs(): Promise<number[]>;
  /** SIGKILL to everything inside, now and until it is empty. */
  kill(): Promise<void>;
  freeze(frozen: boolean): Promise<void>;
  /** Removes the directory and what was made below it; fails while processes live. */
  remove(): Promise<void>;
}
