// Each example configuration starts the daemon it promises, in a cluster of its own where it needs one. Root, because the daemon makes sessions of other users.
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { preflight } from '@sallyport/kernel/host-probe.ts';

const folder = join(import.meta.dirname, '../../../../examples');
const bin = join(import.meta.dirname, '../../bin/teleport');
const tctl = join(import.meta.dirname, '../../bin/tctl');
const files = readdirSync(folder).filter((file) => file.endsWith('.yaml') && !file.startsWith('role-'));
const root = process.geteuid?.() === 0;
const missing = root ? (await preflight()).filter(({ ok }) => !ok).map(({ name }) => name) : [];

for (const file of files) {
  test(`teleport starts with examples/${file} and stops when told`, {
    skip: !root && 'needs root',
    timeout: 60_000,
  }, async (t) => {
    const text = await readFile(join(folder, file), 'utf8');
    if (missing.length > 0 && /enhanced_recording:\s+enabled: true/.test(text)) {
      t.skip(`this host lacks: ${missing.join(', ')}`);
      return;
    }
    const dir = await mkdtemp(join(tmpdir(), 'sallyport-example-'));
    const config = join(dir, 'teleport.yaml');
    const home = /^ {2}(auth|proxy)_server: /m.test(text) ? await startHome(join(dir, 'home')) : undefined;
    await writeFile(config, withOwnPlaces(home?.joinedBy(text) ?? text, dir));
    const daemon = spawn(bin, ['start', '-c', config], { stdio: ['ignore', 'ignore', 'pipe'] });
    const log = new Log(daemon);
    try {
      const off = /ssh_service:\n(?: +#.*\n)* +enabled: false/.test(text);
      await log.has(off ? /ssh service is off/ : /ssh service listens/);
      assert.doesNotMatch(log.text, /WARN|ERROR/);
      daemon.kill('SIGTERM');
      const [code] = await once(daemon, 'exit');
      assert.equal(code, 0);
    } finally {
      daemon.kill('SIGKILL');
      home?.daemon.kill('SIGKILL');
      await stopRecorder(log.text);
      await rm(dir, { recursive: true, force: true });
    }
  });
}

/** Port 0, and a data directory and cgroup that nobody else uses; the rest stays as it is printed. */
function withOwnPlaces(text: string, dir: string): string {
  const moved = text
    .replace(/data_dir: .*/, `data_dir: ${join(dir, 'data')}`)
    .replace(/^ {2}listen_addr: .*:(3022|3025)$/gm, '')
    .replace(/^auth_service:\n/m, 'auth_service:\n  listen_addr: 127.0.0.1:0\n')
    .replace(/^proxy_service:\n/m, `proxy_service:\n${proxyPorts([0, 0, 0])}`);
  const recording = `  enhanced_recording:\n    root_path: /sallyport-example-${process.pid}\n`;
  const isolated = moved.replace(/^ {2}enhanced_recording:\n/m, recording);
  return isolated.replace(/^ssh_service:\n/m, 'ssh_service:\n  listen_addr: 127.0.0.1:0\n');
}

const proxyPorts = ([web, ssh, tunnel]: readonly number[]) =>
  `  web_listen_addr: 127.0.0.1:${web}\n  listen_addr: 127.0.0.1:${ssh}\n  tunnel_listen_addr: 127.0.0.1:${tunnel}\n`;

/** The cluster that an example of a proxy or a node joins: auth and a proxy in one process. */
async function startHome(dir: string) {
  const config = `${dir}.yaml`;
  const [auth, web, ssh, tunnel] = await freePorts(4);
  await writeFile(
    config,
    `version: v3
teleport: {nodename: home-host, data_dir: ${dir}}
auth_service: {enabled: true, cluster_name: home, listen_addr: "127.0.0.1:${auth}", tokens: ["proxy,node:of-the-test"]}
ssh_service: {enabled: false}
proxy_service:
  enabled: true
  public_addr: 127.0.0.1:${web}
${proxyPorts([web ?? 0, ssh ?? 0, tunnel ?? 0])}`,
  );
  const daemon = spawn(bin, ['start', '-c', config], { stdio: ['ignore', 'ignore', 'pipe'] });
  try {
    await new Log(daemon).has(/ssh service is off/);
    const status = await promisify(execFile)(tctl, ['-c', config, 'status', '--format=json']);
    const pin: string = JSON.parse(status.stdout).ca_pin;
    const joinedBy = (text: string) =>
      text
        .replace(/auth_server: .*/, `auth_server: 127.0.0.1:${auth}`)
        .replace(/proxy_server: .*/, `proxy_server: 127.0.0.1:${web}`)
        .replace(/auth_token: .*/, 'auth_token: of-the-test')
        .replace(/ca_pin: .*/, `ca_pin: ${pin}`);
    return { daemon, joinedBy };
  } catch (error) {
    daemon.kill('SIGKILL');
    throw error;
  }
}

/** Ports nobody listens on just now. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => {
    const address = server.address();
    return address !== null && typeof address === 'object' ? address.port : 0;
  });
  await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))));
  return ports;
}

/** It outlives the daemon by design; here nobody comes back for it. */
async function stopRecorder(log: string): Promise<void> {
  const pid = Number(/the kernel recorder runs pid=(\d+)/.exec(log)?.[1]);
  if (Number.isNaN(pid)) return;
  const deadline = performance.now() + 5000;
  while (signalled(pid, performance.now() < deadline ? 'SIGTERM' : 'SIGKILL')) await delay(20);
}

function signalled(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

class Log {
  text = '';
  readonly #daemon: ChildProcess;

  constructor(daemon: ChildProcess) {
    this.#daemon = daemon;
    daemon.stderr?.on('data', (chunk) => {
      this.text += chunk;
    });
  }

  async has(line: RegExp): Promise<void> {
    while (!line.test(this.text)) {
      if (this.#daemon.exitCode !== null) throw new Error(`teleport ended early:\n${this.text}`);
      await delay(20);
    }
  }
}
