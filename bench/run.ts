/**
 * `make bench`: what a recorded session costs (P1–P4). The same binary runs outside of any session with
 * nothing loaded (none), in a recorded session with every kind on (recorded), beside a live recorded session
 * (bystander) and under strace, in alternating order, and the medians are compared within one run.
 * Prints as it goes and writes docs/reference/benchmarks.md. It never fails for a slow figure.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { OneHost, repository, run, until } from '../e2e/one-host.ts';
import { benchmarksPage } from './page.ts';

export type Setting = 'none' | 'recorded' | 'bystander' | 'strace';
export type Operation = 'exec' | 'open' | 'connect' | 'getppid';
export interface Sample {
  readonly setting: Setting;
  readonly op: Operation;
  readonly median_ns: number;
  readonly p99_ns: number;
}

const rounds = Number(process.env['BENCH_ROUNDS'] ?? 10);
const counts: Record<Operation, number> = { exec: 300, open: 20_000, connect: 2_000, getppid: 500_000 };
const operations = Object.keys(counts) as Operation[];
const workload = join(repository, '.build', 'workload');
const role = `kind: role
version: v6
metadata:
  name: bench
spec:
  allow:
    logins: [root]
    node_labels: { "*": "*" }
  options:
    enhanced_recording: [command, disk, network]
`;

function compile(): void {
  mkdirSync(join(repository, '.build'), { recursive: true });
  const cc = spawnSync('gcc', ['-O2', '-o', workload, join(repository, 'bench/workload.c')], {
    encoding: 'utf8',
  });
  if (cc.status !== 0) throw new Error(`gcc: ${cc.stderr}`);
}

const commandLine = (op: Operation, port: number) => [workload, op, String(counts[op]), String(port)];

function parse(setting: Setting, stdout: string): Sample[] {
  return stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => ({ setting, ...(JSON.parse(line) as Omit<Sample, 'setting'>) }));
}

/** Every operation once, in a shell so that all settings start alike. */
const everything = (port: number) => operations.map((op) => commandLine(op, port).join(' ')).join('; ');

async function plain(setting: Setting, port: number): Promise<Sample[]> {
  return parse(setting, (await run('sh', ['-c', everything(port)], { timeoutMs: 120_000 })).stdout);
}

/** strace slows opens some sixty-fold: a tenth of the work is enough to see it. */
async function underStrace(port: number): Promise<Sample[]> {
  const lines = operations
    .map((op) => `${workload} ${op} ${Math.max(100, counts[op] / 20)} ${port}`)
    .join('; ');
  const traced = 'trace=execve,openat,open,connect';
  const args = ['-f', '--seccomp-bpf', '-e', traced, '-o', '/dev/null', 'sh', '-c', lines];
  return parse('strace', (await run('strace', args, { timeoutMs: 180_000 })).stdout);
}

async function withCluster(
  port: number,
  forward: boolean,
): Promise<{ samples: Sample[]; lost: number; records: number }> {
  const cluster = await OneHost.start();
  try {
    const rolePath = join(cluster.folder, 'bench-role.yaml');
    writeFileSync(rolePath, role);
    const created = await cluster.tctl('create', '-f', rolePath);
    if (created.status !== 0) throw new Error(`tctl create: ${created.stderr}`);
    await cluster.identity('bench', ['root'], ['bench']);
    const recorded = async () =>
      parse('recorded', (await cluster.ssh('bench', everything(port), { timeoutMs: 180_000 })).stdout);
    const bystander = async () => {
      const live = spawn('ssh', [...(await cluster.sshArgs('bench')), 'echo in; sleep 60'], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      await new Promise((done) => live.stdout.once('data', done));
      const samples = await plain('bystander', port);
      live.kill();
      return samples;
    };
    const order = forward ? [recorded, bystander] : [bystander, recorded];
    const samples: Sample[] = [];
    for (const block of order) samples.push(...(await block()));
    const ends = await until('both session.end', async () => {
      const found = (await cluster.events()).filter((event) => event.event === 'session.end');
      return found.length >= 1 && found;
    });
    const totals = ends.flatMap((end) =>
      Object.values((end['enhanced_totals'] ?? {}) as Record<string, { emitted: number; lost: number }>),
    );
    return {
      samples,
      lost: totals.reduce((sum, kind) => sum + kind.lost, 0),
      records: totals.reduce((sum, kind) => sum + kind.emitted, 0),
    };
  } finally {
    await cluster.stop();
  }
}

compile();
const server = spawn(workload, ['listen'], { stdio: ['ignore', 'pipe', 'inherit'] });
const port = Number(String(await new Promise((done) => server.stdout.once('data', done))).trim());
const samples: Sample[] = [];
let lost = 0;
let records = 0;
try {
  for (let round = 1; round <= rounds; round++) {
    const forward = round % 2 === 1;
    process.stderr.write(`round ${round} of ${rounds}\n`);
    if (forward) samples.push(...(await plain('none', port)));
    const cluster = await withCluster(port, forward);
    samples.push(...cluster.samples);
    lost += cluster.lost;
    records += cluster.records;
    if (!forward) samples.push(...(await plain('none', port)));
    if (round <= 3) samples.push(...(await underStrace(port)));
  }
} finally {
  server.kill();
}

const machine = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown CPU'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node ${process.version}`;
const page = benchmarksPage({ machine, rounds, samples, lost, records, counts });
writeFileSync(join(repository, 'docs/reference/benchmarks.md'), page);
process.stdout.write(`${page}\n`);
