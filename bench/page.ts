/** The benchmark page out of the samples: ratios first, raw figures behind them. */
import type { Operation, Sample, Setting } from './run.ts';
import { duration, median } from './statistics.ts';

export interface Results {
  readonly machine: string;
  readonly rounds: number;
  readonly samples: readonly Sample[];
  readonly lost: number;
  readonly records: number;
  readonly counts: Readonly<Record<Operation, number>>;
}

const names: Record<Operation, string> = {
  exec: 'P1 fork + exec + wait',
  open: 'P2 open + close (disk on)',
  connect: 'P3 TCP connect + close, loopback',
  getppid: 'P4 getppid (a system call nobody records)',
};
const settings: readonly Setting[] = ['none', 'recorded', 'bystander', 'strace'];

function cell(samples: readonly Sample[], op: Operation, setting: Setting): string {
  const of = (s: Setting) =>
    median(samples.filter((x) => x.op === op && x.setting === s).map((x) => x.median_ns));
  const value = of(setting);
  if (Number.isNaN(value)) return '–';
  if (setting === 'none') return duration(value);
  const base = of('none');
  const added = value - base;
  return `${duration(value)} (×${(value / base).toFixed(2)}, ${added < 0 ? '−' : '+'}${duration(Math.abs(added))})`;
}

function p99(samples: readonly Sample[], op: Operation, setting: Setting): string {
  const values = samples.filter((x) => x.op === op && x.setting === setting).map((x) => x.p99_ns);
  return values.length === 0 ? '–' : duration(median(values));
}

function table(results: Results, draw: typeof cell): string {
  const rows = (Object.keys(names) as Operation[]).map(
    (op) => `| ${names[op]} | ${settings.map((setting) => draw(results.samples, op, setting)).join(' | ')} |`,
  );
  return [
    `| operation | ${settings.join(' | ')} |`,
    `|---|${settings.map(() => '---').join('|')}|`,
    ...rows,
  ].join('\n');
}

export function benchmarksPage(results: Results): string {
  const raw = results.samples
    .map(({ setting, op, median_ns, p99_ns }) => `${setting} ${op} ${median_ns} ${p99_ns}`)
    .join('\n');
  return `# Benchmarks

Written by \`make bench\`; do not edit. Ratios travel between machines, times do not.

Machine: ${results.machine}. ${results.rounds} rounds, order alternated; each figure is the median of the
rounds' medians. *none*: no program of ours loaded. *recorded*: in a recorded session with command, disk and
network on. *bystander*: outside of every session while one is live. *strace*: \`strace -f --seccomp-bpf\` on the
same three system calls, three rounds.

${table(results, cell)}

99th percentiles (median over the rounds; short operations are timed in batches):

${table(results, p99)}

In all, the kernel emitted ${results.records} records for the recorded rounds; ${results.lost} were lost.

<details><summary>Raw figures: setting, operation, median ns, p99 ns, a line a round</summary>

\`\`\`
${raw}
\`\`\`

</details>
`;
}
