import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { eventually } from './host.fixture.ts';

export const noSshd = existsSync('/usr/sbin/sshd') ? false : 'needs OpenSSH sshd to compare with';

export interface SshdOptions {
  /** A file of /etc/pam.d. */
  readonly pamService?: string;
  /** Lines of sshd_config that win over ours. */
  readonly settings?: string;
}

export interface SshdRan {
  readonly out: string;
  readonly err: string;
  readonly status: number | null;
}

/** A real OpenSSH server on loopback with keys of its own: the witness of what a log-in looks like here. */
export class RealSshd {
  readonly port: number;
  readonly #dir: string;
  readonly #server: ChildProcess;

  private constructor(port: number, dir: string, server: ChildProcess) {
    this.port = port;
    this.#dir = dir;
    this.#server = server;
  }

  static async start({ pamService = 'sshd', settings = '' }: SshdOptions = {}): Promise<RealSshd> {
    const dir = mkdtempSync('/tmp/sallyport-sshd-');
    chmodSync(dir, 0o755); // sshd reads authorized_keys as the user
    for (const key of ['host', 'user'])
      execFileSync('ssh-keygen', ['-qt', 'ed25519', '-N', '', '-f', join(dir, key)]);
    execFileSync('cp', [join(dir, 'user.pub'), join(dir, 'authorized')]);
    const port = await freePort();
    // What a configuration file says first holds.
    writeFileSync(join(dir, 'config'), `${settings}\n${config(dir, port)}`);
    // sshd takes the PAM service of its own name.
    const program = join(dir, pamService);
    symlinkSync('/usr/sbin/sshd', program);
    mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
    // Node raises its soft limit of open files, which sshd would pass on; init systems start it with 1024.
    const start = `ulimit -Sn 1024; exec ${program} -D -E ${dir}/log -f ${dir}/config`;
    const server = spawn('/bin/sh', ['-c', start], { cwd: '/', env: {}, stdio: 'ignore' });
    const sshd = new RealSshd(port, dir, server);
    await eventually('sshd listens', () => accepts(port));
    return sshd;
  }

  /** What `ssh` prints. With a terminal its input is typed, without one it is read by the command. */
  run(login: string, args: readonly string[], options: { tty: boolean; input?: string }): string {
    return this.ran(login, args, options).out;
  }

  ran(login: string, args: readonly string[], options: { tty: boolean; input?: string }): SshdRan {
    const settings = { env: this.#env, input: options.input ?? '', timeout: 20_000 };
    const ran = spawnSync('ssh', this.#args(login, args, options.tty), settings);
    return { out: ran.stdout.toString(), err: ran.stderr.toString(), status: ran.status };
  }

  /** `ssh` on a terminal, until it has said the word; then it is killed. */
  async until(login: string, args: readonly string[], word: string): Promise<string> {
    const child = spawn('ssh', this.#args(login, args, true), {
      env: this.#env,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const gone = new Promise((resolve) => child.once('close', resolve));
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk;
    });
    await eventually(`ssh says ${word}`, () => said.includes(word)).finally(() => child.kill());
    await gone;
    return said;
  }

  readonly #env = { PATH: '/usr/bin:/bin', LANG: 'C.UTF-8', TERM: 'xterm' };

  #args(login: string, args: readonly string[], tty: boolean): string[] {
    return [
      ...['-F', 'none', '-i', join(this.#dir, 'user'), '-p', String(this.port), '-l', login],
      ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR'],
      ...['-o', 'SendEnv=LANG', tty ? '-tt' : '-T', '127.0.0.1', ...args],
    ];
  }

  /** Options of `sftp` and `scp`, without whom and where. */
  get copyOptions(): string[] {
    return [
      ...['-F', 'none', '-i', join(this.#dir, 'user'), '-P', String(this.port)],
      ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR'],
    ];
  }

  /** What the server itself says. */
  get log(): string {
    return readFileSync(join(this.#dir, 'log'), 'utf8');
  }

  stop(): void {
    this.#server.kill();
    rmSync(this.#dir, { recursive: true });
  }
}

function config(dir: string, port: number): string {
  return `ListenAddress 127.0.0.1
Port ${port}
HostKey ${dir}/host
PidFile none
AuthorizedKeysFile ${dir}/authorized
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM yes
PrintMotd no
AcceptEnv LANG LC_*
`;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address ? address.port : 0;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
