// A cluster whose people watch over each other: the roles, the sessions, and those who moderate them, as processes
// that can be stopped and killed, or by a line that can fall silent.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import type { RoleDocument } from '@sallyport/contracts/api/resources.ts';
import {
  type JoinMode,
  joinLogin,
  joinVariables,
  type SessionTracker,
} from '@sallyport/contracts/api/session-trackers.ts';
import type { ClientSession, SshClient } from '../../ssh-transport/ssh-client.ts';
import { type Account, type TestCluster, tshProgram, until } from './cluster.fixture.ts';
import { connectNode, type NodeLink } from './connect-node.ts';
import { type Profile, requireProfile } from './profile.ts';
import { Terminal } from './terminal.fixture.ts';

export const joining = (name: string, modes: JoinMode[], of: string): RoleDocument => ({
  kind: 'role',
  metadata: { name },
  spec: { allow: { join_sessions: [{ name, roles: [of], kinds: ['ssh'], modes }] } },
});

export interface Watch {
  readonly onLeave: 'pause' | 'terminate';
  readonly count?: number;
  readonly silenceLimit?: string;
}

/** As `access`, and somebody of the role `moderating` must be there. */
export const watched = ({ onLeave, count = 1, silenceLimit }: Watch): RoleDocument => ({
  kind: 'role',
  metadata: { name: 'watched' },
  spec: {
    allow: {
      logins: ['{{internal.logins}}'],
      node_labels: { '*': '*' },
      require_session_join: [
        {
          name: 'four eyes',
          filter: 'contains(user.spec.roles, "moderating")',
          kinds: ['ssh'],
          modes: ['moderator'],
          count,
          on_leave: onLeave,
          ...(silenceLimit === undefined ? {} : { silence_limit: silenceLimit }),
        },
      ],
    },
  },
});

export interface Moderator {
  readonly child: ChildProcess;
  readonly ended: Promise<unknown[]>;
  shown(): string;
  type(keys: string): void;
}

export interface ModeratorHere {
  type(keys: string): void;
  /** The connection ends. */
  cut(): void;
}

async function enter(client: SshClient, sid: string, mode: JoinMode): Promise<ClientSession> {
  const session = await client.openSession();
  await session.env(joinVariables.sid, sid);
  await session.env(joinVariables.mode, mode);
  if (!(await session.shell())) throw new Error('no channel');
  return session;
}

export class Stage {
  readonly cluster: TestCluster;
  readonly account: Account;
  readonly #closing: (() => unknown)[] = [];

  constructor(cluster: TestCluster, account: Account) {
    this.cluster = cluster;
    this.account = account;
  }

  async close(): Promise<void> {
    Terminal.killAll();
    for (const close of this.#closing.splice(0).reverse()) await close();
  }

  /** Closed with the stage, however its test ends. */
  keep(close: () => unknown): void {
    this.#closing.push(close);
  }

  terminal(name: string, args: string): Terminal {
    return new Terminal(`stty rows 33 cols 101; exec ${tshProgram} ${args}`, this.cluster.env(name));
  }

  /** A session of that person, and its id. */
  async begin(name: string, node = 'node-1') {
    const known = new Set((await this.cluster.sessions()).map(({ metadata }) => metadata.name));
    const owner = this.terminal(name, `ssh ${this.account.name}@${node}`);
    const session = await until('the session is listed', async () =>
      (await this.cluster.sessions()).find(
        ({ metadata, spec }) => spec.owner === name && !known.has(metadata.name),
      ),
    );
    return { owner, sid: session.metadata.name, state: session.spec.state };
  }

  async session(sid: string): Promise<SessionTracker['spec'] | undefined> {
    return (await this.cluster.sessions()).find(({ metadata }) => metadata.name === sid)?.spec;
  }

  /** A moderator without a terminal: a process that can be stopped and killed. */
  async moderate(sid: string, name = 'max'): Promise<Moderator> {
    const args = ['join', '--mode=moderator', sid];
    const child = spawn(tshProgram, args, { stdio: 'pipe', env: this.cluster.env(name) });
    this.keep(() => child.kill('SIGKILL'));
    let shown = '';
    child.stdout.on('data', (bytes: Buffer) => {
      shown += bytes;
    });
    const ended = once(child, 'close');
    await until(`${name} is in`, () => shown.includes('as moderator'));
    return { child, ended, shown: () => shown, type: (keys) => void child.stdin.write(keys) };
  }

  async link(name: string, login: string, node = 'node-1', change: Partial<Profile> = {}): Promise<NodeLink> {
    const agent = () => new PassThrough(); // there is one to lend; nobody asks it anything
    process.env['TELEPORT_HOME'] = this.cluster.home(name);
    const profile = { ...(await requireProfile(undefined)), ...change };
    const link = await connectNode(profile, { host: node, port: 3022 }, login, { agent });
    this.keep(() => link.close());
    return link;
  }

  /** Past tsh and what it checks: the node alone decides. */
  async enterRaw(
    name: string,
    sid: string,
    mode: JoinMode,
    change: Partial<Profile> = {},
  ): Promise<ClientSession> {
    const { client } = await this.link(name, joinLogin, 'node-1', change);
    return enter(client, sid, mode);
  }

  /** A moderator inside this process, which is quicker to be had. */
  async moderateHere(sid: string, name = 'max', node = 'node-1'): Promise<ModeratorHere> {
    const { client, close } = await this.link(name, joinLogin, node);
    const session = await enter(client, sid, 'moderator');
    let shown = '';
    session.stdout.on('data', (bytes: Buffer) => {
      shown += bytes;
    });
    await until(`${name} is in`, () => shown.includes('as moderator'));
    return { type: (keys) => void session.stdin.write(Buffer.from(keys)), cut: close };
  }

  async eventsOf(event: string, sid: string): Promise<Record<string, unknown>[]> {
    return (await this.cluster.events(event)).filter((each) => each['sid'] === sid);
  }

  ended(sid: string): Promise<Record<string, unknown>> {
    return until('session.end', async () => (await this.eventsOf('session.end', sid))[0]);
  }

  /** Resolves when nothing of the account lives any more. */
  async nothingRuns(): Promise<void> {
    await until('nothing runs any more', () => this.processes().length === 0).catch((error: unknown) => {
      const left = this.processes().map(
        (pid) => readFileSync(`/proc/${pid}/stat`, 'latin1') + readFileSync(`/proc/${pid}/cgroup`, 'latin1'),
      );
      throw new Error(`${String(error)}: ${left.join('')}`);
    });
  }

  /** Pids of what lives as the account; not of what has ended and is not reaped yet. */
  processes(): string[] {
    try {
      return execFileSync('pgrep', ['--runstates', 'D,R,S,T,t,I', '-u', this.account.name], {
        encoding: 'utf8',
      })
        .trim()
        .split('\n');
    } catch {
      return [];
    }
  }
}

/** A file that grows while what writes it runs. */
export class Ticks {
  readonly path: string;

  constructor(account: Account, name: string) {
    this.path = `${account.home}/${name}`;
  }

  /** For a shell, in the background: it writes a hundred times a second. `by` goes in front: `setsid nohup`. */
  command(by = ''): string {
    return `${by} sh -c 'while :; do echo x >> ${this.path}; sleep 0.01; done' >/dev/null 2>&1 </dev/null &`;
  }

  get size(): number {
    try {
      return readFileSync(this.path).length;
    } catch {
      return 0;
    }
  }

  async moves(): Promise<void> {
    const before = this.size;
    await until(`${this.path} grows`, () => this.size > before + 10);
  }

  /** When it last grew, once it has not for a while. */
  async stops(): Promise<number> {
    let last = this.size;
    let changedAt = performance.now();
    await until(`${this.path} stands still`, () => {
      const now = this.size;
      if (now !== last) changedAt = performance.now();
      last = now;
      return performance.now() - changedAt > 300;
    });
    return changedAt;
  }
}

/** To the proxy, until it says nothing any more: open at both ends, and nothing passes. */
export class SilentLine {
  readonly #server: Server;
  readonly #pairs: [Socket, Socket][] = [];
  port = 0;

  private constructor(to: number) {
    this.#server = createServer((near) => {
      const far = connect(to, 'localhost');
      this.#pairs.push([near, far]);
      for (const [from, into] of [
        [near, far],
        [far, near],
      ] as const) {
        from.on('error', () => {}).on('close', () => into.destroy());
        from.on('data', (bytes) => into.write(bytes));
      }
    });
  }

  static async to(port: number): Promise<SilentLine> {
    const line = new SilentLine(port);
    line.#server.listen(0, '127.0.0.1');
    await once(line.#server, 'listening');
    line.port = (line.#server.address() as { port: number }).port;
    return line;
  }

  fallSilent(): void {
    for (const socket of this.#pairs.flat()) socket.pause();
  }

  speak(): void {
    for (const socket of this.#pairs.flat()) socket.resume();
  }

  close(): void {
    for (const socket of this.#pairs.flat()) socket.destroy();
    this.#server.close();
  }
}

/** Cgroups below that of the tests, by the names of their sessions. */
export function cgroupsOf(root: string): string[] {
  try {
    return readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) =>
      /^[0-9a-f-]{36}$/.test(name),
    );
  } catch {
    return [];
  }
}
