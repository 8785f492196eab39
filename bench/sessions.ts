/**
 * P8 to P10: a session from the client's side, on a node of ours that records everything, and on OpenSSH's sshd.
 * Blocks alternate (ABBA) and a block is short: the machine drifts by more than what is measured.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { run, until } from '../e2e/one-host.ts';
import { cpuMs, type Peer, Peers, peers, proportionalSize } from './peers.ts';

export interface SessionFigures {
  readonly rounds: number;
  /** P8: wall time of `ssh host true`, ms, in the order measured. */
  readonly single: Record<Peer, number[]>;
  /** P9: sessions a second, a figure a block. */
  readonly rate: Record<Peer, number[]>;
  /** P9: wall time of each of them, ms. */
  readonly crowded: Record<Peer, number[]>;
  /** P10: bytes a live session adds, with `atOnce` of them. */
  readonly memory: Record<Peer, number>;
  readonly atOnce: number;
  /** CPU time of the server, ms a session: what runs in it, and what is written after its end, included. */
  readonly serverCpu: Record<Peer, number>;
  /** Of the client, which runs on the same CPUs. */
  readonly clientCpu: Record<Peer, number>;
  /** Sessions that ended with a status of their own instead of 0. */
  readonly failed: number;
}

const abba: readonly Peer[] = ['sallyport', 'sshd', 'sshd', 'sallyport'];
const singles = 5;
const crowd = 16;
const crowdSessions = 64;
const idle = 50;

const empty = <T>(value: () => T): Record<Peer, T> => ({ sallyport: value(), sshd: value() });
const turned = (round: number) => (round % 2 === 1 ? abba : abba.map((p) => other(p)));
const other = (peer: Peer): Peer => (peer === 'sshd' ? 'sallyport' : 'sshd');

export async function measureSessions(rounds: number): Promise<SessionFigures> {
  const servers = await Peers.start();
  try {
    const figures = { single: empty(list), rate: empty(list), crowded: empty(list) };
    const [serverCpu, clientCpu] = [empty(() => 0), empty(() => 0)];
    let failed = 0;
    let sessions = 0;
    const one = async (peer: Peer) => {
      const from = performance.now();
      const { status, stderr } = await run('ssh', [...servers.args(peer), 'true']);
      if (status !== 0) {
        failed++;
        process.stderr.write(`${peer}: ssh ended with ${status}: ${stderr}`);
      } else if (peer === 'sallyport') sessions++;
      return performance.now() - from;
    };
    // The first sessions of a daemon compile its code.
    for (let i = 0; i < 10; i++) for (const peer of peers) await one(peer);
    for (let round = 1; round <= rounds; round++) {
      for (const peer of turned(round)) {
        for (let i = 0; i < singles; i++) figures.single[peer].push(await one(peer));
        await ended(servers, sessions);
      }
    }
    for (let round = 1; round <= Math.ceil(rounds / 3); round++) {
      for (const peer of turned(round)) {
        const before = [await servers.cpuMs(peer), cpuMs(process.pid, 'children')] as const;
        const from = performance.now();
        figures.crowded[peer].push(...(await crowdOf(() => one(peer))));
        figures.rate[peer].push((crowdSessions / (performance.now() - from)) * 1000);
        // What a server does afterwards counts too: here the rest of the recording.
        await ended(servers, sessions);
        serverCpu[peer] += ((await servers.cpuMs(peer)) - before[0]) / crowdSessions;
        clientCpu[peer] += (cpuMs(process.pid, 'children') - before[1]) / crowdSessions;
      }
    }
    for (const cpu of [serverCpu, clientCpu])
      for (const peer of peers) cpu[peer] /= Math.ceil(rounds / 3) * 2;
    const memory = { sallyport: await memoryOf(servers, 'sallyport'), sshd: await memoryOf(servers, 'sshd') };
    return { rounds, ...figures, serverCpu, clientCpu, memory, atOnce: idle, failed };
  } finally {
    await servers.stop();
  }
}

function list(): number[] {
  return [];
}

/** `crowd` clients at once, each starting the next session when one is over. */
async function crowdOf(one: () => Promise<number>): Promise<number[]> {
  const took: number[] = [];
  let left = crowdSessions;
  const client = async () => {
    while (left-- > 0) took.push(await one());
  };
  await Promise.all(Array.from({ length: crowd }, client));
  return took;
}

/** All our sessions so far are in the log: what comes next is not measured beside that work. */
async function ended({ node }: Peers, count: number): Promise<void> {
  const inLog = () => readFileSync(node.eventsLog, 'utf8').split('"event":"session.end"').length - 1;
  await until(`${count} session.end`, () => inLog() >= count, 60_000);
}

async function memoryOf(servers: Peers, peer: Peer): Promise<number> {
  const before = proportionalSize(await servers.processes(peer));
  const live: ChildProcess[] = [];
  try {
    for (let i = 0; i < idle; i++) {
      const stdio = ['pipe', 'pipe', 'ignore'] as const;
      const child = spawn('ssh', [...servers.args(peer), 'echo in; exec sleep 600'], { stdio: [...stdio] });
      live.push(child);
      await once(child.stdout, 'data');
    }
    return (proportionalSize(await servers.processes(peer)) - before) / idle;
  } finally {
    for (const child of live) child.kill();
  }
}
