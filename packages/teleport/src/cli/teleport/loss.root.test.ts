// Events that could not be kept, through the whole node: a small ring, a recorder that is stopped, a program
// that opens files by the thousand. Nothing is lost in silence, and the role decides what follows.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { recorderBinary } from '@sallyport/kernel/binaries.ts';
import { cannotLaunch } from '../../ssh/host.fixture.ts';
import { OneNode, testRecorder, until } from './one-node.fixture.ts';
import { assertAscending, only } from './session-assertions.fixture.ts';

const opens = fileURLToPath(new URL('../../../../kernel/build/test-programs/opens', import.meta.url));
const skip =
  cannotLaunch() ||
  (!(existsSync(recorderBinary) && existsSync(opens)) && 'the recorder or its test programs are not built');

/** 64 KiB: a shell's start fits while it is drained, a flood does not. Configurations cannot ask for so little. */
const ringBytes = 64 * 1024;

async function nodeWithSmallRing(lossPolicy: 'best_effort' | 'strict'): Promise<OneNode> {
  const node = await OneNode.create({ role: { lossPolicy } });
  const recorder = join(node.folder, 'recorder');
  const real = testRecorder().recorder ?? recorderBinary;
  await writeFile(recorder, `#!/bin/sh\nexec ${real} "$@" --ring-bytes ${ringBytes}\n`);
  await chmod(recorder, 0o755);
  await node.start({ recorder });
  return node;
}

/** Runs `then` after a flood that nobody drained. */
async function flood(node: OneNode, then: string) {
  const client = node.spawnSsh(`echo up; read x; ${opens} flood /etc/passwd 3000; echo done; ${then}`);
  const said = { out: '', err: '' };
  client.stdout.on('data', (chunk) => {
    said.out += chunk;
  });
  client.stderr.on('data', (chunk) => {
    said.err += chunk;
  });
  const status = new Promise<number | null>((resolve) => client.once('close', resolve));
  await until('the session runs', () => said.out.includes('up'));
  const recorder = node.service?.recorderPid ?? 0;
  process.kill(recorder, 'SIGSTOP');
  try {
    client.stdin.end('\n');
    await until('the flood is over', () => said.out.includes('done'));
  } finally {
    process.kill(recorder, 'SIGCONT');
  }
  const events = (await node.ended(1)).at(-1) ?? [];
  return { status: await status, said, events, end: events.at(-1) };
}

describe('events that could not be kept', { skip }, () => {
  const nodes: OneNode[] = [];
  after(async () => {
    for (const node of nodes) await node.remove();
  });

  test('are declared in the log, and session.end counts them: emitted is recorded and lost', async () => {
    const node = await nodeWithSmallRing('best_effort');
    nodes.push(node);
    const { status, events, end } = await flood(node, 'exit 5');
    assert.equal(status, 5);
    const totals = end?.['enhanced_totals'] as Record<string, Record<string, number>>;
    for (const [kind, { emitted = 0, recorded = 0, lost = 0 }] of Object.entries(totals)) {
      assert.equal(emitted, recorded + lost, kind);
      const inLog = events.filter((event) => 'seq' in event && kindOf(event.event) === kind);
      assert.equal(recorded, inLog.length, `${kind} in the log`);
      const declared = only(events, 'session.events_lost').filter((event) => event['kind'] === kind);
      const sum = declared.reduce((all, event) => all + Number(event['count']), 0);
      assert.equal(sum, lost, `${kind} declared`);
      for (const event of declared) assert.equal(event['cause'], 'ring_full');
    }
    assert.ok((totals['disk']?.['emitted'] ?? 0) >= 3000);
    assert.ok((totals['disk']?.['lost'] ?? 0) > 0);
    const seqs = events.flatMap((event) => ('seq' in event ? [event['seq']] : []));
    assert.equal(new Set(seqs).size, seqs.length, 'none twice');
    assertAscending(events);
    const [failed] = only(events, 'session.recording_failed');
    assert.deepEqual([failed?.['recording'], failed?.['consequence']], ['enhanced', 'continued']);
  });

  test('end a session whose role says strict, and its user is told', async () => {
    const node = await nodeWithSmallRing('strict');
    nodes.push(node);
    const { status, said, events, end } = await flood(node, 'sleep 60');
    assert.equal(status, 255);
    assert.match(said.err, /This session was ended: .*lost/);
    assert.equal(end?.['interrupted'], true);
    const failed = only(events, 'session.recording_failed').map((event) => event['consequence']);
    assert.deepEqual(failed, ['ended']);
    assert.ok(only(events, 'session.events_lost').length > 0);
    const totals = end?.['enhanced_totals'] as Record<string, Record<string, number>>;
    const { emitted, recorded, lost } = totals['disk'] ?? {};
    assert.equal(emitted, Number(recorded) + Number(lost));
    assert.ok(Number(lost) > 0);
  });
});

function kindOf(event: string): string {
  return event.split('.')[1] === 'attribution' ? 'meta' : String(event.split('.')[1]);
}
