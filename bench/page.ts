/** The benchmark page out of the samples: ratios first, raw figures behind them. */
import type { Operation, Sample, Setting } from './sample.ts';
import { duration, median } from './statistics.ts';

export interface Results {
  readonly machine: string;
  readonly rounds: number;
  readonly samples: readonly Sample[];
  readonly lost: number;
  readonly records: number;
  /** Copies of our programs that were attached before the first round. */
  readonly foreign: number;
  readonly flooded: { readonly emitted: number; readonly lost: number; readonly seconds: number };
}

const names: Record<Operation, string> = {
  exec: 'P1 fork + exec + wait',
  open: 'P2 open + close (disk on)',
  connect: 'P3 TCP connect + close, loopback',
  getppid: 'P4 getppid (a system call nobody records)',
};
const settings: readonly Setting[] = ['none', 'recorded', 'bystander', 'strace'];

/** What is asked of one operation in one setting. */
interface Target {
  readonly op: Operation;
  readonly setting: Setting;
  readonly text: string;
  met(ratio: number, addedNs: number): boolean;
}

const targets: readonly Target[] = [
  { op: 'exec', setting: 'recorded', text: 'P1 fork+exec, recorded: ≤ +5 %', met: (ratio) => ratio <= 1.05 },
  { op: 'open', setting: 'recorded', text: 'P2 open+close, recorded: ≤ +1.0 µs', met: (_, ns) => ns <= 1000 },
  {
    op: 'connect',
    setting: 'recorded',
    text: 'P3 connect+close, recorded: ≤ +3 %',
    met: (ratio) => ratio <= 1.03,
  },
  {
    op: 'getppid',
    setting: 'bystander',
    text: 'P4 a bystander’s system call: ≤ +60 ns',
    met: (_, ns) => ns <= 60,
  },
];

type Figure = 'median_ns' | 'p99_ns';

/** The median over the round's blocks. */
function ofRound(samples: readonly Sample[], round: number, op: Operation, setting: Setting, figure: Figure) {
  const block = samples.filter((s) => s.round === round && s.op === op && s.setting === setting);
  return block.reduce((sum, sample) => sum + sample[figure], 0) / block.length;
}

interface Compared {
  readonly value: number;
  /** Against none of the same round. */
  readonly ratio: number;
  readonly added: number;
}

function compare({ samples, rounds }: Results, op: Operation, setting: Setting, figure: Figure): Compared {
  const all = Array.from({ length: rounds }, (_, i) => ({
    value: ofRound(samples, i + 1, op, setting, figure),
    base: ofRound(samples, i + 1, op, 'none', figure),
  })).filter(({ value, base }) => !Number.isNaN(value + base));
  return {
    value: median(all.map(({ value }) => value)),
    ratio: median(all.map(({ value, base }) => value / base)),
    added: median(all.map(({ value, base }) => value - base)),
  };
}

const signed = (ns: number) => `${ns < 0 ? '−' : '+'}${duration(Math.abs(ns))}`;

function cell(results: Results, op: Operation, setting: Setting, figure: Figure): string {
  const { value, ratio, added } = compare(results, op, setting, figure);
  if (Number.isNaN(value)) return '–';
  return setting === 'none' ? duration(value) : `${duration(value)} (×${ratio.toFixed(2)}, ${signed(added)})`;
}

function table(results: Results, figure: Figure): string {
  const rows = (Object.keys(names) as Operation[]).map(
    (op) => `| ${names[op]} | ${settings.map((setting) => cell(results, op, setting, figure)).join(' | ')} |`,
  );
  return [
    `| operation | ${settings.join(' | ')} |`,
    `|---|${settings.map(() => '---').join('|')}|`,
    ...rows,
  ].join('\n');
}

function verdicts(results: Results): string {
  return targets
    .map(({ op, setting, text, met }) => {
      const { ratio, added } = compare(results, op, setting, 'median_ns');
      return `- ${text}: **${met(ratio, added) ? 'met' : 'missed'}** (×${ratio.toFixed(3)}, ${signed(added)})`;
    })
    .join('\n');
}

function floodLine({ emitted, lost, seconds }: Results['flooded']): string {
  const rate = Math.round(emitted / seconds);
  return `P6, a first figure: opens on every CPU at once in one session, ${emitted} records in ${seconds.toFixed(2)} s
(${rate} a second, with the daemon writing its audit log beside it): ${lost} lost.`;
}

export function benchmarksPage(results: Results): string {
  const raw = results.samples
    .map((s) => `${s.round} ${s.setting} ${s.op} ${s.median_ns} ${s.p99_ns}`)
    .join('\n');
  const foreign =
    results.foreign === 0
      ? ''
      : `\n\nDuring the whole run ${results.foreign} more sets of the same programs, of other recorders on the machine, were
attached before the first round. They slow every setting, *none* too: differences and ratios are against that.`;
  return `# Benchmarks

Written by \`make bench\`; do not edit. Ratios travel between machines, times do not.

Machine: ${results.machine}. ${results.rounds} rounds of none, recorded, bystander, bystander, recorded, none, the middle
swapped in every second round. Each figure is the median over the rounds; ratio and difference are taken against
*none* of the same round, then the median. *none*: no program of this run loaded. *recorded*: in a session over SSH with
command, disk and network recorded. *bystander*: outside of every session while one is live. *strace*:
\`strace -f --seccomp-bpf\` on the same three system calls, three rounds.${foreign}

${table(results, 'median_ns')}

Against the targets:

${verdicts(results)}

99th percentiles (short operations are timed in batches, of which these are the means):

${table(results, 'p99_ns')}

In all, the kernel emitted ${results.records} records in the rounds' sessions; ${results.lost} were lost.
${floodLine(results.flooded)}

Not measured yet: bpftrace and auditd beside it, P5, P7, P11 to P14, P16.

<details><summary>Raw figures: round, setting, operation, median ns, p99 ns</summary>

\`\`\`
${raw}
\`\`\`

</details>
`;
}
