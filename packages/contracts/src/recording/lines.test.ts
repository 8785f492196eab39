import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { catalog } from '../events/event.ts';
import {
  decodeIndexLine,
  decodeRecordedLine,
  encodeIndexLine,
  encodePrintLine,
  indexName,
  partName,
  partOf,
  partTypes,
} from './lines.ts';

const sid = 'fad07202-35bb-11ea-83aa-125400432324';
const count = fc.nat();

describe('the lines of a recording', () => {
  it('come back as they were written', () => {
    fc.assert(
      fc.property(
        count,
        count,
        count,
        count,
        fc.integer({ min: 1, max: 65536 }),
        (ms, offset, ei, ci, bytes) => {
          const print = {
            event: 'print' as const,
            time: '2026-01-02T03:04:05.006Z',
            ms,
            offset,
            bytes,
            ei,
            ci,
          };
          assert.deepEqual(decodeRecordedLine(encodePrintLine(print)), print);
          const index = { file_name: partName(sid, 'events'), type: 'events' as const, index: ei, offset };
          assert.deepEqual(decodeIndexLine(encodeIndexLine(index)), index);
        },
      ),
    );
  });

  it('are refused when they are something else', () => {
    for (const line of [
      '',
      'x',
      'null',
      '{"event":"print"}',
      '{"event":"print","bytes":0}',
      '{"code":"T1"}',
    ]) {
      assert.equal(decodeRecordedLine(line), undefined);
      assert.equal(decodeIndexLine(line), undefined);
    }
  });

  it('lie in parts named as documented', () => {
    assert.deepEqual(
      partTypes.map((type) => partName(sid, type)),
      [
        `${sid}-0.chunks`,
        `${sid}-0.events`,
        `${sid}-0.session.command-events`,
        `${sid}-0.session.disk-events`,
        `${sid}-0.session.network-events`,
      ],
    );
    assert.equal(indexName(sid), `${sid}.index`);
  });

  it('include every event of the kernel, and none that is not of a session', () => {
    for (const { event } of catalog) {
      const kernels = /^session\.(command|disk|network|attribution|events_lost)/.test(event);
      if (kernels) assert.notEqual(partOf(event), undefined, event);
      if (!event.startsWith('session.') && event !== 'resize') assert.equal(partOf(event), undefined, event);
    }
  });
});
