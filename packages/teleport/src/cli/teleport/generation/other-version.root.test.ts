// What a daemon of another version left when it was killed: its spools are of layouts that we do not know.
import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { SPOOL_MAGIC, spool_header, WIRE_VERSION } from '@sallyport/kernel/wire.gen.ts';
import { facts } from '../../../ssh/facts.fixture.ts';
import { cannotLaunch } from '../../../ssh/host.fixture.ts';
import { readBootId, writeJournal } from '../../../ssh/session-journal.ts';
import { OneNode } from '../one-node.fixture.ts';
import { only } from '../session-assertions.fixture.ts';
import { until } from '../until.fixture.ts';

describe('a session of a daemon of other layouts', { skip: cannotLaunch() }, () => {
  let node: OneNode;
  before(async () => {
    node = await OneNode.create({ enhanced: false });
  });
  after(() => node?.remove());

  test('has its end, says what it lacks, and its spool is kept', async () => {
    const spoolDir = join(node.dataDir, 'spool');
    await mkdir(spoolDir, { recursive: true });
    const header = Buffer.alloc(spool_header.SIZE);
    header.writeBigUInt64LE(SPOOL_MAGIC, spool_header.magic);
    header.writeUInt32LE(WIRE_VERSION, spool_header.version);
    header.writeUInt32LE(spool_header.SIZE, spool_header.header_length);
    header.fill(7, spool_header.wire_hash, spool_header.wire_hash + 32);
    Buffer.from(facts.sid.replaceAll('-', ''), 'hex').copy(header, spool_header.session_id);
    await writeFile(join(spoolDir, `${facts.sid}.spool`), header);
    const started = new Date().toISOString();
    await writeJournal(
      spoolDir,
      { ...facts, started },
      { bootId: await readBootId(), generation: 'of-the-dead' },
    );
    await node.start();
    const [events = []] = await node.ended(1);
    const [end] = only(events, 'session.end');
    assert.equal(end?.['interrupted'], true);
    assert.equal(end?.['enhanced_recording'], false);
    assert.ok(node.logged.some(({ message }) => message === 'a spool cannot be read'));
    await until('its spool is all that is left', async () => {
      const left = (await readdir(spoolDir)).filter((name) => name.startsWith(facts.sid));
      return left.length === 1 && left[0] === `${facts.sid}.spool.other-version`;
    });
  });
});
