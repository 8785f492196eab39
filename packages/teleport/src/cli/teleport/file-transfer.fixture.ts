// OpenSSH's own sftp and scp against a node under test, and raw SFTP for what they would never send.
import { execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { OneNode, Ran, SeenEvent } from './one-node.fixture.ts';

const timeoutMs = 60_000;

function run(program: string, args: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(program, args, { timeout: timeoutMs, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
      resolve({ status, signal: error?.signal ?? null, stdout, stderr });
    });
  });
}

/** A server as a client sees it. */
export interface CopyServer {
  /** For batch files. */
  readonly folder: string;
  /** Options of sftp and scp, without whom and where. */
  readonly copyOptions: readonly string[];
}

export class CopyClient {
  readonly #node: OneNode;
  readonly #login: string;
  readonly #server: CopyServer | undefined;

  /** `server`: another one than the node. */
  constructor(node: OneNode, login: string, server?: CopyServer) {
    this.#node = node;
    this.#login = login;
    this.#server = server;
  }

  /** ssh's options, without whom and where; sftp and scp spell the port with a capital. */
  #options(): readonly string[] {
    if (this.#server) return this.#server.copyOptions;
    return this.#node
      .sshArgs(this.#login)
      .slice(0, -3)
      .map((word) => (word === '-p' ? '-P' : word));
  }

  get host(): string {
    return `${this.#login}@127.0.0.1`;
  }

  /** A batch file, a line a command. `-` in front of a command: it may fail. */
  async sftp(...commands: readonly string[]): Promise<Ran> {
    const batch = join(this.#node.folder, `batch-${randomBytes(4).toString('hex')}`);
    await writeFile(batch, `${commands.join('\n')}\n`);
    return run('sftp', [...this.#options(), '-b', batch, this.host]);
  }

  /** `:path` is on the node. `flags` say `-O` (the host's scp) or `-s` (sftp). */
  scp(flags: readonly string[], ...paths: readonly string[]): Promise<Ran> {
    const places = paths.map((path) => (path.startsWith(':') ? `${this.host}${path}` : path));
    return run('scp', [...flags, ...this.#options(), ...places]);
  }

  startScp(flags: readonly string[], ...paths: readonly string[]) {
    const places = paths.map((path) => (path.startsWith(':') ? `${this.host}${path}` : path));
    return spawn('scp', [...flags, ...this.#options(), ...places], { stdio: 'ignore' });
  }

  /** The sftp subsystem, with bytes of our own making. Resolves when the channel is closed. */
  async raw(
    input: Buffer,
    keepOpen = false,
  ): Promise<{ output: Buffer; stderr: string; status: number | null }> {
    const args = ['-s', ...this.#node.sshArgs(this.#login), 'sftp'];
    const child = spawn('ssh', args, { stdio: ['pipe', 'pipe', 'pipe'], timeout: timeoutMs });
    child.stdin.on('error', () => {});
    child.stdin.write(input);
    if (!keepOpen) child.stdin.end();
    const status = new Promise<number | null>((resolve) => child.once('close', resolve));
    const [output, stderr] = await Promise.all([child.stdout.toArray(), child.stderr.toArray()]);
    return { output: Buffer.concat(output), stderr: Buffer.concat(stderr).toString(), status: await status };
  }
}

export async function checksum(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** `code path`, of what was done to files. */
export function copies(events: readonly SeenEvent[]): string[] {
  return events
    .filter(({ event }) => event === 'sftp' || event === 'scp')
    .map((event) => [event.code, event['path'], event['target_path']].filter(Boolean).join(' '));
}
