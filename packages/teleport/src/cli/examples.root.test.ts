// Each example configuration starts the daemon it promises. Root, because the daemon makes sessions of other users.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { preflight } from '@sallyport/kernel/host-probe.ts';

const folder = join(import.meta.dirname, '../../../../examples');
const bin = join(import.meta.dirname, '../../bin/teleport');
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
    await writeFile(config, withOwnPlaces(text, dir));
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
      await stopRecorder(log.text);
      await rm(dir, { recursive: true, force: true });
    }
  });
}

/** Port 0, and a data directory and cgroup that nobody else uses; the rest stays as it is printed. */
function withOwnPlaces(text: string, dir: string): string {
  const moved = text
    .replace(/data_dir: .*/, `data_dir: ${join(dir, 'data')}`)
    .replace(/^ {2}listen_addr: .*:3022$/m, '');
  const recording = `  enhanced_recording:\n    root_path: /sallyport-example-${process.pid}\n`;
  const isolated = moved.replace(/^ {2}enhanced_recording:\n/m, recording);
  return isolated.replace(/^ssh_service:\n/m, 'ssh_service:\n  listen_addr: 127.0.0.1:0\n');
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
