/**
 * The two servers that are compared: a node of ours, everything recorded, and OpenSSH's sshd with the node's own host
 * key and certificate, trusting the same user authority. The client's command line differs in the port alone.
 * Both authorise by the same certificate, run the same PAM service and log in to the same account.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { recordersOf } from '../e2e/host-remains.ts';
import { freePort, OneHost, until } from '../e2e/one-host.ts';
import { temporaryLogin } from './login.ts';

export type Peer = 'sallyport' | 'sshd';
export const peers: readonly Peer[] = ['sallyport', 'sshd'];

const roleOf = (login: string) => `kind: role
version: v6
metadata:
  name: bench
spec:
  allow:
    logins: [${login}]
    node_labels: { "*": "*" }
  options:
    enhanced_recording: [command, disk, network]
`;

/** Its default client prefers a post-quantum exchange with one server and another with the other: one for both. */
const sameAlgorithms = ['KexAlgorithms=curve25519-sha256', 'Ciphers=aes128-gcm@openssh.com'];

export class Peers {
  readonly node: OneHost;
  readonly #sshd: ChildProcess;
  readonly #sshdPort: number;
  readonly #args: readonly string[];

  private constructor(node: OneHost, sshd: ChildProcess, sshdPort: number, args: readonly string[]) {
    this.node = node;
    this.#sshd = sshd;
    this.#sshdPort = sshdPort;
    this.#args = args;
  }

  static async start(): Promise<Peers> {
    const login = temporaryLogin('sp-bench');
    const node = await OneHost.start({ sshService: '  pam: {enabled: true, service_name: sshd}' });
    try {
      const rolePath = join(node.folder, 'bench-role.yaml');
      writeFileSync(rolePath, roleOf(login));
      const created = await node.tctl('create', '-f', rolePath);
      if (created.status !== 0) throw new Error(`tctl create: ${created.stderr}`);
      await node.identity('bench', [login], ['bench']);
      const port = await freePort();
      const sshd = await startSshd(node, port);
      const args = await node.sshArgs('bench', login);
      return new Peers(node, sshd, port, args);
    } catch (error) {
      await node.stop();
      throw error;
    }
  }

  /** Of OpenSSH's client. */
  args(peer: Peer): string[] {
    const to = peer === 'sshd' ? String(this.#sshdPort) : String(this.node.port);
    const args = this.#args.map((arg, at) => (this.#args[at - 1] === '-p' ? to : arg));
    return [...sameAlgorithms.flatMap((option) => ['-o', option]), ...args];
  }

  /** Everything that serves the peer's sessions, without what runs in them. */
  async processes(peer: Peer): Promise<number[]> {
    if (peer === 'sshd') return descendants(this.#sshd.pid ?? 0, /sshd/);
    const recorders = (await recordersOf(this.node.dataDir)).map(({ pid }) => pid);
    return [...descendants(this.node.daemonPid, /^(node|launcher|MainThread)/), ...recorders];
  }

  /** CPU time so far, ms, of everything that served the peer's sessions, those that ended included. */
  async cpuMs(peer: Peer): Promise<number> {
    if (this.#sshd.exitCode !== null || this.#sshd.signalCode !== null) throw new Error('sshd ended');
    if (peer === 'sshd') return cpuMs(this.#sshd.pid ?? 0);
    const recorders = await recordersOf(this.node.dataDir);
    return [this.node.daemonPid, ...recorders.map(({ pid }) => pid)].reduce(
      (sum, pid) => sum + cpuMs(pid),
      0,
    );
  }

  async stop(): Promise<void> {
    this.#sshd.kill();
    await this.node.stop();
  }
}

async function startSshd(node: OneHost, port: number): Promise<ChildProcess> {
  const userCa = join(node.folder, 'user_ca.pub');
  writeFileSync(userCa, (await node.tctl('auth', 'export', '--type=openssh')).stdout);
  const member = JSON.parse(readFileSync(join(node.dataDir, 'member.json'), 'utf8'));
  const certificate = join(node.folder, 'sshd-cert.pub');
  const type = 'ssh-ed25519-cert-v01@openssh.com';
  writeFileSync(certificate, `${type} ${member.granted.ssh_certificate} sshd\n`);
  const config = join(node.folder, 'sshd_config');
  writeFileSync(
    config,
    `ListenAddress 127.0.0.1
Port ${port}
HostKey ${join(node.dataDir, 'host_key')}
HostCertificate ${certificate}
TrustedUserCAKeys ${userCa}
AuthorizedKeysFile none
PidFile none
Subsystem sftp /usr/lib/openssh/sftp-server
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM yes
MaxStartups 1000
PerSourceMaxStartups none
`,
  );
  mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
  // Not the environment of ours, and the limit of open files an init system sets.
  const shell = `ulimit -Sn 1024; exec /usr/sbin/sshd -D -e -f ${config} 2>${join(node.folder, 'sshd.log')}`;
  const sshd = spawn('/bin/sh', ['-c', shell], { cwd: '/', env: {}, stdio: 'ignore' });
  await until('sshd listens', () => accepts(port));
  return sshd;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => done(true)).once('error', () => done(false));
    socket.once('connect', () => socket.destroy());
  });
}

/** proc(5): utime, stime, and both of the children it has waited for, in ticks of 10 ms. */
export function cpuMs(pid: number, which: 'all' | 'children' = 'all'): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const times = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(which === 'all' ? 11 : 13, 15);
  return times.reduce((sum, ticks) => sum + Number(ticks) * 10, 0);
}

/** The process and those it started, by the name the kernel has for them; what sessions run is left out. */
function descendants(root: number, names: RegExp): number[] {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => statOf(Number(pid)));
  const found = [root];
  // proc(5): a parent may have a greater number than its child once numbers wrap around.
  for (let grown = true; grown; ) {
    const more = all.filter(
      ({ pid, parent, name }) => !found.includes(pid) && found.includes(parent) && names.test(name),
    );
    found.push(...more.map(({ pid }) => pid));
    grown = more.length > 0;
  }
  return found;
}

function statOf(pid: number): { pid: number; parent: number; name: string }[] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const end = stat.lastIndexOf(')');
    const parent = Number(stat.slice(end + 2).split(' ')[1]);
    return [{ pid, parent, name: stat.slice(stat.indexOf('(') + 1, end) }];
  } catch {
    return [];
  }
}

/** Bytes: what is a process's alone, and its share of what it has in common with others. */
export function proportionalSize(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + pssOf(pid), 0);
}

function pssOf(pid: number): number {
  try {
    const line = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'));
    return Number(line?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}
