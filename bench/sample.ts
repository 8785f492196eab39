/** One block of one operation: what is measured, and where. */
export type Setting = 'none' | 'recorded' | 'bystander' | 'strace';
export type Operation = 'exec' | 'open' | 'connect' | 'getppid';
export interface Sample {
  readonly round: number;
  readonly setting: Setting;
  readonly op: Operation;
  readonly median_ns: number;
  readonly p99_ns: number;
}
