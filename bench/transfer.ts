/**
 * `make bench`, third part: bulk through a recorded session against OpenSSH's sshd (P11). Puts its section into
 * docs/reference/benchmarks.md. BENCH_ROUNDS sets how many, BENCH_TRANSFER_MIB how much; never fails for a slow figure,
 * but for a byte that is another.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  createReadStream,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { OneHost, repository, run, until } from '../e2e/one-host.ts';
import { machine } from './machine.ts';
import { type Peer, Peers, peers } from './peers.ts';
import { transferSection, withTransferSection } from './transfer-page.ts';

const rounds = Number(process.env['BENCH_ROUNDS'] ?? 10);
const mebibytes = Number(process.env['BENCH_TRANSFER_MIB'] ?? 192);
const timeoutMs = 120_000;

/** In memory where there is such a place: a disk is not what is compared. */
const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'sp-bench-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
const blob = join(folder, 'blob');
/** What goes through a terminal, at a tenth of the speed. */
const page = join(folder, 'page');
const there = join(folder, 'there');
const here = join(folder, 'here');

/** What is run for a peer, as words for a shell. */
const ways: Readonly<Record<string, (peer: Peer, servers: Peers) => string>> = {
  'exec, from the host (`ssh host cat`)': (peer, servers) =>
    `ssh ${words(servers.args(peer))} 'cat ${blob}' > ${here}`,
  'terminal, from the host (`ssh -t host cat`, raw)': (peer, servers) =>
    `ssh -tt ${words(servers.args(peer))} 'stty raw -echo; cat ${page}' > ${here} < /dev/null`,
  'exec, to the host': (peer, servers) => `ssh ${words(servers.args(peer))} 'cat > ${there}' < ${blob}`,
  'sftp, from the host (`scp`)': (peer, servers) => scp(servers.args(peer), `:${blob}`, here),
  'sftp, to the host': (peer, servers) => scp(servers.args(peer), blob, `:${there}`),
};

const words = (args: readonly string[]) => args.map((arg) => `'${arg}'`).join(' ');

/** scp spells the port with a capital; whom and where stand last of ssh's. */
function scp(args: readonly string[], ...places: readonly string[]): string {
  const at = args.indexOf('-l');
  const login = args[at + 1];
  const host = args.at(-1);
  const options = [...args.slice(0, at), ...args.slice(at + 2, -1)].map((arg) => (arg === '-p' ? '-P' : arg));
  const named = places.map((place) => (place.startsWith(':') ? `${login}@${host}${place}` : place));
  return `scp -q -s ${words([...options, ...named])}`;
}

async function checksum(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

export interface TransferFigures {
  readonly rounds: number;
  readonly mebibytes: number;
  /** MB/s, by way and peer, in the order measured. */
  readonly rate: Readonly<Record<string, Record<Peer, number[]>>>;
}

/** All our sessions so far are in the log, their recordings packed: what comes next is not measured beside that work. */
async function ended({ node }: Peers, count: number): Promise<void> {
  const inLog = () => readFileSync(node.eventsLog, 'utf8').split('"event":"session.end"').length - 1;
  await until(`${count} session.end`, () => inLog() >= count, timeoutMs);
  const live = join(node.dataDir, 'log/upload/sessions/default');
  await until('recordings are packed', () => !existsSync(live) || readdirSync(live).length === 0, timeoutMs);
}

async function measure(servers: Peers): Promise<TransferFigures> {
  const rate: Record<string, Record<Peer, number[]>> = {};
  let sessions = 0;
  for (const [name, way] of Object.entries(ways)) {
    const rates: Record<Peer, number[]> = { sallyport: [], sshd: [] };
    const source = name.startsWith('terminal') ? page : blob;
    const wanted = await checksum(source);
    const megabytes = statSync(source).size / 1e6;
    for (let round = 0; round <= rounds; round++) {
      for (const peer of round % 2 === 0 ? peers : peers.toReversed()) {
        const from = performance.now();
        const { status, stderr } = await run('/bin/sh', ['-c', way(peer, servers)], { timeoutMs });
        const seconds = (performance.now() - from) / 1000;
        if (status !== 0) throw new Error(`${peer}, ${name}: ended with ${status}: ${stderr}`);
        if (round === 0) {
          // Not measured: the first one compiles code. It is what arrives that is looked at.
          const arrived = await checksum(existsSync(here) ? here : there);
          if (arrived !== wanted) throw new Error(`${peer}, ${name}: what arrived is something else`);
        } else {
          rates[peer].push(megabytes / seconds);
        }
        for (const path of [here, there]) rmSync(path, { force: true });
        if (peer === 'sallyport') await ended(servers, ++sessions);
      }
    }
    rate[name] = rates;
  }
  return { rounds, mebibytes, rate };
}

OneHost.stopOnSignal();
const servers = await Peers.start();
try {
  execFileSync('/bin/sh', ['-c', `head -c ${mebibytes}M /dev/urandom > ${blob}`]);
  execFileSync('/bin/sh', ['-c', `head -c ${mebibytes / 8}M ${blob} > ${page}`]);
  // The account of the run reads it and makes its own beside it.
  execFileSync('chmod', ['777', folder]);
  const section = transferSection(machine, await measure(servers));
  const benchmarks = join(repository, 'docs/reference/benchmarks.md');
  writeFileSync(benchmarks, withTransferSection(readFileSync(benchmarks, 'utf8'), section));
  process.stdout.write(section);
} finally {
  await servers.stop();
}
