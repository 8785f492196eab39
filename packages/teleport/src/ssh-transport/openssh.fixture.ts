// For tests: keys and certificates made by ssh-keygen, OpenSSH's own ssh and sshd on loopback, and a server of ours
// whose sessions run /bin/sh. Everything lives in one temporary folder that goes away with the process.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectSsh, type SshClient, type SshClientOptions } from './client.ts';
import { type Refusal, type SshServer, type SshServerOptions, startSshServer } from './server.ts';
import type { SessionChannel, SessionHandler } from './session-channel.ts';

export const KEY_TYPES = ['ed25519', 'ecdsa', 'rsa'] as const;
export type KeyType = (typeof KEY_TYPES)[number];

export const folder = mkdtempSync(join(tmpdir(), 'sallyport-ssh-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

export const inFolder = (name: string): string => join(folder, name);
export const fileText = (name: string): string => readFileSync(inFolder(name), 'utf8');

const keygen = (...args: string[]) =>
  execFileSync('ssh-keygen', ['-q', ...args], { cwd: folder, stdio: 'pipe' });

function makeKeys(): void {
  const bits = { ed25519: '256', ecdsa: '256', rsa: '2048' };
  for (const ca of ['user_ca', 'host_ca', 'other_ca']) keygen('-t', 'ed25519', '-N', '', '-f', ca);
  for (const type of KEY_TYPES) {
    for (const who of ['user', 'host'])
      keygen('-t', type, '-b', bits[type], '-N', '', '-f', `${who}_${type}`);
    keygen('-s', 'user_ca', '-I', 'alice', '-n', 'alice,root', `user_${type}.pub`);
    keygen('-s', 'host_ca', '-h', '-I', 'here', '-n', 'localhost,127.0.0.1', `host_${type}.pub`);
  }
  keygen('-t', 'ed25519', '-N', '', '-f', 'stranger');
}
makeKeys();

/** The blob in a public key or certificate file. */
export const blobOf = (file: string): Buffer => Buffer.from(fileText(file).split(' ')[1] ?? '', 'base64');
export const hostKey = (type: KeyType) => ({
  privateKey: fileText(`host_${type}`),
  certificate: blobOf(`host_${type}-cert.pub`),
});
export const userKey = (type: KeyType) => ({
  privateKey: fileText(`user_${type}`),
  certificate: blobOf(`user_${type}-cert.pub`),
});

writeFileSync(inFolder('known_hosts'), `@cert-authority * ${fileText('host_ca.pub')}`);
writeFileSync(inFolder('known_hosts_other'), `@cert-authority * ${fileText('other_ca.pub')}`);

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function finished(child: ChildProcess): Promise<Finished> {
  const { promise, resolve } = Promise.withResolvers<Finished>();
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('latin1').on('data', (data: string) => {
      text[name] += data;
    });
  }
  child.on('close', (code) => resolve({ code, ...text }));
  return promise;
}

export interface SshCall {
  readonly port: number;
  readonly key?: string;
  readonly certificate?: string;
  readonly knownHosts?: string;
  readonly options?: readonly string[];
  readonly login?: string;
}

/** Arguments of a real ssh that trusts only our host authority and uses only the named key. */
export function sshArguments(call: SshCall): string[] {
  const key = call.key ?? 'user_ed25519';
  const settings = [
    ...(call.options ?? []), // first: ssh takes the first value it meets
    `UserKnownHostsFile=${inFolder(call.knownHosts ?? 'known_hosts')}`,
    'GlobalKnownHostsFile=none',
    'StrictHostKeyChecking=yes',
    'BatchMode=yes',
    'IdentitiesOnly=yes',
    'IdentityAgent=none',
    `CertificateFile=${inFolder(call.certificate ?? `${key}-cert.pub`)}`,
  ].flatMap((setting) => ['-o', setting]);
  return [
    '-F',
    'none',
    ...settings,
    '-i',
    inFolder(key),
    '-p',
    `${call.port}`,
    `${call.login ?? 'alice'}@127.0.0.1`,
  ];
}

export function startSsh(call: SshCall, ...command: readonly string[]): ChildProcess {
  return spawn('ssh', [...sshArguments(call), ...command], { stdio: ['pipe', 'pipe', 'pipe'] });
}

export async function ssh(call: SshCall, ...command: readonly string[]): Promise<Finished> {
  const child = startSsh(call, ...command);
  child.stdin?.end();
  return finished(child);
}

/** What a session asked for, and its channel. */
export interface Seen {
  readonly channel: SessionChannel;
  readonly requests: unknown[][];
}

/** Runs a command with /bin/sh, its pipes joined to the channel with back-pressure both ways. */
export function runShell(
  channel: SessionChannel,
  command: string,
  env: Record<string, string>,
): ChildProcess {
  const child = spawn('/bin/sh', ['-c', command], {
    stdio: 'pipe',
    env: { PATH: process.env['PATH'], ...env },
  });
  child.stdin.on('error', () => {});
  channel.stdin.pipe(child.stdin);
  const copy = async (from: AsyncIterable<Buffer>, to: SessionChannel['stdout']) => {
    for await (const bytes of from) if (!(await to.write(bytes))) break;
  };
  const copied = Promise.all([copy(child.stdout, channel.stdout), copy(child.stderr, channel.stderr)]);
  child.on('exit', async (code, signal) => {
    await copied;
    if (signal) channel.exitSignal(signal.replace('SIG', ''), false, 'killed');
    else channel.exit(code ?? 0);
    void channel.close();
  });
  return child;
}

export function shellHandler(seen: Seen): SessionHandler {
  const { channel, requests } = seen;
  const env: Record<string, string> = {};
  let child: ChildProcess | undefined;
  return {
    pty: (request) => requests.push(['pty', request]) > 0,
    env(name, value) {
      requests.push(['env', name, value]);
      env[name] = value;
      return name.startsWith('LC_');
    },
    windowChange: (size) => void requests.push(['windowChange', size]),
    signal(name) {
      requests.push(['signal', name]);
      return child?.kill(`SIG${name}` as NodeJS.Signals) ?? false;
    },
    exec(command) {
      requests.push(['exec', command]);
      child = runShell(channel, command, env);
      return true;
    },
    closed() {
      requests.push(['closed']);
      child?.kill('SIGKILL');
    },
  };
}

export interface TestServer {
  readonly server: SshServer;
  readonly port: number;
  readonly sessions: Seen[];
  readonly refusals: Refusal[];
  readonly attempts: { login: string; algorithm: string; identity: string }[];
}

/** A server of ours that lets in everybody who proves possession of one of our user keys or certificates. */
export async function startTestServer(more: Partial<SshServerOptions<string>> = {}): Promise<TestServer> {
  const sessions: Seen[] = [];
  const refusals: Refusal[] = [];
  const attempts: TestServer['attempts'] = [];
  const known = new Map(
    KEY_TYPES.flatMap((type) => [
      [blobOf(`user_${type}.pub`).toString('hex'), `${type} key`],
      [blobOf(`user_${type}-cert.pub`).toString('hex'), `${type} certificate`],
    ]),
  );
  const server = await startSshServer<string>({
    listen: { host: '127.0.0.1', port: 0 },
    hostKeys: KEY_TYPES.map(hostKey),
    async authenticate({ login, algorithm, blob }) {
      const identity = known.get(blob.toString('hex'));
      if (!identity) return { ok: false, reason: 'unknown key' };
      attempts.push({ login, algorithm, identity });
      return { ok: true, identity };
    },
    onConnection: () => ({
      session({ channel }) {
        const seen: Seen = { channel, requests: [] };
        sessions.push(seen);
        return shellHandler(seen);
      },
    }),
    onRefused: (refusal) => refusals.push(refusal),
    ...more,
  });
  return { server, port: server.address.port, sessions, refusals, attempts };
}

/** Our own client, logged in with the ed25519 certificate unless told otherwise. */
export function connectTo(port: number, more: Partial<SshClientOptions> = {}): Promise<SshClient> {
  const stream = more.stream ?? connect({ port, host: '127.0.0.1', noDelay: true });
  return connectSsh({ login: 'alice', keys: [userKey('ed25519')], verifyHost: () => true, ...more, stream });
}

/** Polls until `check` is true. */
export async function until(what: string, check: () => boolean, deadlineMs = 10_000): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (!check()) {
    if (performance.now() > end) throw new Error(`waited ${deadlineMs} ms for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function freePort(): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const server = createServer().listen(0, '127.0.0.1', () => {
    const address = server.address();
    server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
  });
  return promise;
}

/** OpenSSH's own server, with one host key and its certificate. */
export async function startSshd(type: KeyType, settings: readonly string[] = []) {
  const port = await freePort();
  mkdirSync('/run/sshd', { recursive: true });
  const config = inFolder(`sshd_${type}_${port}`);
  const lines = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${inFolder(`host_${type}`)}`,
    `HostCertificate ${inFolder(`host_${type}-cert.pub`)}`,
    `TrustedUserCAKeys ${inFolder('user_ca.pub')}`,
    'PidFile none',
    'UsePAM no',
    'StrictModes no',
    'PasswordAuthentication no',
    'AcceptEnv LC_*',
    ...settings,
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  const child = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', config], { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  await until('sshd to listen', () => log.includes('Server listening'));
  return { port, log: () => log, stop: () => child.kill() };
}
