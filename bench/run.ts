/**
 * `make bench`, first half: what a recorded session costs (P1–P4), and what it loses in a flood (P6). The same binary runs
 * outside of any session with nothing loaded (none), in a recorded session with every kind on (recorded), beside
 * a live recorded session (bystander) and under strace. A round is none, recorded, bystander, bystander,
 * recorded, none; every second round has the middle two swapped. A machine drifts by more than what is measured,
 * so that ratios are taken within a round. BENCH_ROUNDS sets how many.
 * Prints as it goes and writes docs/reference/benchmarks.md. It never fails for a slow figure.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { OneHost, repository, run, until } from '../e2e/one-host.ts';
import { machine } from './machine.ts';
import { benchmarksPage } from './page.ts';
import type { Operation, Sample, Setting } from './sample.ts';

const rounds = Number(process.env['BENCH_ROUNDS'] ?? 10);
const counts: Record<Operation, number> = { exec: 300, open: 20_000, connect: 1_500, getppid: 300_000 };
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

function parse(round: number, setting: Setting, stdout: string): Sample[] {
  return stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => ({
      round,
      setting,
      ...(JSON.parse(line) as Pick<Sample, 'op' | 'median_ns' | 'p99_ns'>),
    }));
}

/** Every operation once, in a shell so that all settings start alike. */
const everything = (port: number) => operations.map((op) => commandLine(op, port).join(' ')).join('; ');

async function plain(round: number, setting: Setting, port: number): Promise<Sample[]> {
  const { stdout } = await run('sh', ['-c', everything(port)], { timeoutMs: 120_000 });
  return parse(round, setting, stdout);
}

/** strace slows opens some sixty-fold: a part of the work is enough to see it. */
async function underStrace(round: number, port: number): Promise<Sample[]> {
  const lines = operations
    .map((op) => `${workload} ${op} ${Math.max(100, counts[op] / 20)} ${port}`)
    .join('; ');
  const traced = 'trace=execve,openat,open,connect';
  const args = ['-f', '--seccomp-bpf', '-e', traced, '-o', '/dev/null', 'sh', '-c', lines];
  return parse(round, 'strace', (await run('strace', args, { timeoutMs: 180_000 })).stdout);
}

interface Totals {
  readonly emitted: number;
  readonly lost: number;
}

/** Only whole lines: the last one may still be on its way into the file. */
function sessionEnds(cluster: OneHost): Record<string, Totals>[] {
  return readFileSync(cluster.eventsLog, 'utf8')
    .split('\n')
    .slice(0, -1)
    .filter((line) => line.includes('"event":"session.end"'))
    .map((line) => JSON.parse(line)['enhanced_totals'] ?? {});
}

/** Over all kinds, of the sessions that ended; waits until `count` of them have. */
async function totalsOf(cluster: OneHost, count: number): Promise<Totals> {
  const ends = await until(
    `${count} session.end`,
    () => {
      const found = sessionEnds(cluster);
      return found.length >= count && found;
    },
    60_000,
  );
  const kinds = ends.flatMap((totals) => Object.values(totals));
  return {
    emitted: kinds.reduce((sum, kind) => sum + kind.emitted, 0),
    lost: kinds.reduce((sum, kind) => sum + kind.lost, 0),
  };
}

async function startCluster(): Promise<OneHost> {
  const cluster = await OneHost.start();
  const rolePath = join(cluster.folder, 'bench-role.yaml');
  writeFileSync(rolePath, role);
  const created = await cluster.tctl('create', '-f', rolePath);
  if (created.status !== 0) throw new Error(`tctl create: ${created.stderr}`);
  await cluster.identity('bench', ['root'], ['bench']);
  return cluster;
}

async function withCluster(round: number, port: number): Promise<Totals & { samples: Sample[] }> {
  const cluster = await startCluster();
  try {
    const samples: Sample[] = [];
    let ended = 0;
    const recorded = async () => {
      const { stdout } = await cluster.ssh('bench', everything(port), { timeoutMs: 180_000 });
      samples.push(...parse(round, 'recorded', stdout));
      // Its events are all in the log then: what comes next is not measured beside that work.
      await totalsOf(cluster, ++ended);
    };
    const bystander = async () => {
      const live = spawn('ssh', [...(await cluster.sshArgs('bench')), 'echo in; exec cat'], {
        stdio: ['pipe', 'pipe', 'ignore'],
      });
      await once(live.stdout, 'data');
      samples.push(...(await plain(round, 'bystander', port)));
      live.stdin.end();
      await once(live, 'exit');
      await totalsOf(cluster, ++ended);
    };
    const [outer, inner] = round % 2 === 1 ? [recorded, bystander] : [bystander, recorded];
    for (const block of [outer, inner, inner, outer]) await block();
    return { samples, ...(await totalsOf(cluster, 4)) };
  } finally {
    await cluster.stop();
  }
}

const floodOpens = 100_000;

/** Opens as fast as every CPU can, in one session. */
async function flood(): Promise<Totals & { seconds: number }> {
  const cluster = await startCluster();
  try {
    const one = `${workload} open ${floodOpens} >/dev/null`;
    const all = cpus().map(() => `${one} &`);
    const { stdout } = await cluster.ssh('bench', `date +%s.%N; ${all.join(' ')} wait; date +%s.%N`, {
      timeoutMs: 120_000,
    });
    const [began, ended] = stdout.trim().split('\n').map(Number);
    return { seconds: (ended ?? Number.NaN) - (began ?? Number.NaN), ...(await totalsOf(cluster, 1)) };
  } finally {
    await cluster.stop();
  }
}

/** Copies of our programs that others attached before: they tax every setting, *none* too. */
function foreignPrograms(): number {
  try {
    const programs = JSON.parse(execFileSync('bpftool', ['-j', 'prog', 'show'], { encoding: 'utf8' }));
    return programs.filter((each: { name?: string }) => each.name === 'on_exec').length;
  } catch {
    return 0;
  }
}

compile();
const foreign = foreignPrograms();
const server = spawn(workload, ['listen'], { stdio: ['ignore', 'pipe', 'inherit'] });
const port = Number(String((await once(server.stdout, 'data'))[0]).trim());
const samples: Sample[] = [];
let lost = 0;
let records = 0;
let flooded: Awaited<ReturnType<typeof flood>>;
try {
  for (let round = 1; round <= rounds; round++) {
    process.stderr.write(`round ${round} of ${rounds}\n`);
    samples.push(...(await plain(round, 'none', port)));
    const cluster = await withCluster(round, port);
    samples.push(...cluster.samples);
    lost += cluster.lost;
    records += cluster.emitted;
    samples.push(...(await plain(round, 'none', port)));
    if (round <= 3) samples.push(...(await underStrace(round, port)));
  }
  flooded = await flood();
} finally {
  server.kill();
}

const page = benchmarksPage({ machine, rounds, samples, lost, records, foreign, flooded });
writeFileSync(join(repository, 'docs/reference/benchmarks.md'), page);
process.stdout.write(`${page}\n`);
