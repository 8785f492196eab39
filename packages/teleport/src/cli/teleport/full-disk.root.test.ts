// The disk of the data directory is full while people work: a small tmpfs as data_dir. What cannot be recorded does
// not go on in silence, and nothing that was accepted is lost.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { recorderBinary } from '@sallyport/kernel/binaries.ts';
import { cannotLaunch } from '../../ssh/host.fixture.ts';
import { OneNode, type SeenEvent, until } from './one-node.fixture.ts';
import { assertAscending, only } from './session-assertions.fixture.ts';

const skip = cannotLaunch() || (!existsSync(recorderBinary) && 'the recorder is not built (make)');

/** A node whose data directory has 6 MiB. */
class SmallDisk {
  readonly mount: string;
  node!: OneNode;

  private constructor(mount: string) {
    this.mount = mount;
  }

  static async start(recordSession: 'strict' | 'best_effort'): Promise<SmallDisk> {
    const disk = new SmallDisk(await mkdtemp(join(tmpdir(), 'sp-disk-')));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', disk.mount]);
    disk.node = await OneNode.start({ role: { recordSession }, dataDir: join(disk.mount, 'data') });
    return disk;
  }

  /** Not a byte is left. */
  async fill(): Promise<void> {
    const file = await open(join(this.mount, 'ballast'), 'a');
    const page = Buffer.alloc(4096);
    try {
      for (;;) await file.write(page);
    } catch (thrown) {
      assert.equal((thrown as NodeJS.ErrnoException).code, 'ENOSPC');
    } finally {
      await file.close();
    }
  }

  async makeRoom(): Promise<void> {
    await rm(join(this.mount, 'ballast'), { force: true });
  }

  async remove(): Promise<void> {
    await this.makeRoom();
    await this.node?.remove();
    execFileSync('umount', ['-l', this.mount]);
    await rm(this.mount, { recursive: true });
  }
}

/** Says `up`, waits for a line, shows much, and ends with 7. */
const talker = 'echo up; read x; head -c 300000 /dev/zero | tr "\\0" .; /bin/echo; cat /etc/hostname; exit 7';

async function talkOnFullDisk(disk: SmallDisk) {
  const client = disk.node.spawnSsh(talker);
  const said = { out: '', err: '' };
  client.stdout.on('data', (chunk) => {
    said.out += chunk;
  });
  client.stderr.on('data', (chunk) => {
    said.err += chunk;
  });
  const status = new Promise<number | null>((resolve) => client.once('close', resolve));
  await until('the session runs', () => said.out.includes('up'));
  await disk.fill();
  client.stdin.end('\n');
  const exit = await status;
  const shown = said.out.length;
  await disk.makeRoom();
  const events = (await disk.node.ended(1)).at(-1) ?? [];
  return { exit, shown, said, events };
}

function assertAccounted(events: readonly SeenEvent[]): void {
  const totals = events.at(-1)?.['enhanced_totals'] as Record<string, Record<string, number>>;
  for (const [kind, { emitted = 0, recorded = 0, lost = 0 }] of Object.entries(totals)) {
    assert.equal(emitted, recorded + lost, kind);
    const declared = only(events, 'session.events_lost').filter((event) => event['kind'] === kind);
    assert.equal(
      declared.reduce((sum, event) => sum + Number(event['count']), 0),
      lost,
      `${kind} declared`,
    );
  }
  const seqs = events.flatMap((event) => ('seq' in event ? [event['seq']] : []));
  assert.equal(new Set(seqs).size, seqs.length, 'none twice');
  assertAscending(events);
}

describe('a full disk', { skip }, () => {
  const disks: SmallDisk[] = [];
  after(async () => {
    for (const disk of disks) await disk.remove();
  });
  const start = async (recordSession: 'strict' | 'best_effort') => {
    const disk = await SmallDisk.start(recordSession);
    disks.push(disk);
    return disk;
  };

  test('ends a strict session: nothing is shown that is not recorded, and the log says so once it can', async () => {
    const disk = await start('strict');
    const { exit, shown, said, events } = await talkOnFullDisk(disk);
    assert.equal(exit, 255);
    assert.match(said.err, /This session was ended: .*full/);
    assert.ok(shown < 300_000, `${shown} bytes were shown`);
    const failed = only(events, 'session.recording_failed');
    assert.ok(failed.some((event) => event['consequence'] === 'ended'));
    assert.equal(events.at(-1)?.['interrupted'], true);
    assertAccounted(events);
    const recorded = await disk.node.recordedOutput(String(events[0]?.['sid']));
    assert.ok(recorded.length >= shown, `${shown} bytes shown, ${recorded.length} recorded`);
  });

  test('lets a best_effort session go on, and the log says what is missing once it can', async () => {
    const disk = await start('best_effort');
    const { exit, shown, events } = await talkOnFullDisk(disk);
    assert.equal(exit, 7);
    assert.ok(shown > 300_000);
    const failed = only(events, 'session.recording_failed');
    assert.ok(failed.length > 0);
    assert.ok(failed.every((event) => event['consequence'] === 'continued'));
    assertAccounted(events);
  });

  test('keeps a strict session from starting, and leaves no trace of it but the refusal', async () => {
    const disk = disks[0] ?? (await start('strict'));
    await disk.fill();
    const ran = await disk.node.ssh('/bin/echo in');
    assert.equal(ran.status, 254);
    assert.equal(ran.stdout, '');
    await disk.makeRoom();
    const refused = await until('the refusal is in the log', async () =>
      only(await disk.node.events(), 'session.recording_failed').find(
        (event) => event['consequence'] === 'refused',
      ),
    );
    assert.equal(
      only(await disk.node.events(), 'session.command').some((event) => event['sid'] === refused['sid']),
      false,
    );
    const { ran: later } = await disk.node.session('/bin/echo in again');
    assert.equal(later.stdout, 'in again\n');
  });
});
