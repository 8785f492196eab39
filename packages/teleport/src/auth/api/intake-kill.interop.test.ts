import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { hostId } from '../../audit/event.fixture.ts';
import { FileLog } from '../../audit/file-log.ts';
import { until } from '../../until.fixture.ts';

const fixture = (name: string) => new URL(name, import.meta.url).pathname;

interface Child {
  readonly process: ChildProcess;
  /** Its last whole line. */
  readonly said: () => string;
}

function start(script: string, ...args: string[]): Child {
  const process_ = spawn(process.execPath, [fixture(script), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  process_.stdout?.on('data', (chunk: Buffer) => {
    text = (text + chunk).slice(-1000);
  });
  return { process: process_, said: () => text.slice(0, text.lastIndexOf('\n')).split('\n').at(-1) ?? '' };
}

async function kill({ process: child }: Child): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'close');
  child.kill('SIGKILL');
  await gone;
}

describe('a node and the auth service that are killed at any moment', () => {
  it('bring every event into the log exactly once, in order', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'sallyport-kill-'));
    const socketPath = join(dir, 'auth.sock');
    const startAuth = async () => {
      const child = start('intake-auth.fixture.ts', dir, hostId);
      await until('the auth service was ready', () => child.said() === 'ready', 20_000);
      return child;
    };
    let promised = 0;
    const startNode = () =>
      start('intake-node.fixture.ts', join(dir, 'outbox'), socketPath, String(promised), 'make');
    let auth = await startAuth();
    let node = startNode();
    try {
      for (let round = 0; round < 6; round++) {
        const enough = promised + 50 + Math.floor(Math.random() * 600);
        await until('the node made events', () => Number(node.said()) > enough, 20_000);
        if (round % 2 === 0) {
          await kill(auth);
          auth = await startAuth();
        } else {
          await kill(node);
          promised = Number(node.said());
          node = startNode();
        }
        promised = Math.max(promised, Number(node.said()));
      }
      await kill(node);
      promised = Number(node.said());
      const last = start('intake-node.fixture.ts', join(dir, 'outbox'), socketPath, '0', 'drain');
      await once(last.process, 'close');
      const made = Number(last.said());
      assert.ok(made >= promised, `${made} of ${promised} promised`);
      await kill(auth);
      const log = await FileLog.open({
        logDir: join(dir, 'log'),
        hostId: '9048a649-8f3f-4431-9529-0c53339b65a5',
      });
      const found: number[] = [];
      for await (const { ei } of log.search()) found.push(ei);
      await log.close();
      assert.deepEqual(
        found,
        Array.from({ length: made }, (_, n) => n),
      );
    } finally {
      await Promise.all([auth, node].map(kill));
      await rm(dir, { recursive: true });
    }
  });
});
