import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeRecord } from './frames.ts';
import { execRecord, fixedPart, openRecord, recordBytes } from './record-bytes.fixture.ts';
import * as wire from './wire.gen.ts';

const { record_type, tlv_tag } = wire;

function connectRecord(set: (at: (offset: number) => number, bytes: Buffer) => void, type?: number): Buffer {
  return recordBytes({
    type: type ?? record_type.RECORD_CONNECT,
    kind: wire.kind.KIND_NETWORK,
    fixed: fixedPart(wire.record_connect.SIZE, set),
  });
}

test('an exec keeps argv byte for byte, the empty last argument included', () => {
  const event = decodeRecord(execRecord(9, ['sh', '-c', 'a\nb\x1b[2J', '']));
  assert.equal(event.type, 'exec');
  assert.ok(event.type === 'exec');
  assert.deepEqual(event.argv.map(String), ['sh', '-c', 'a\nb\x1b[2J', '']);
  assert.deepEqual(
    [String(event.exe), String(event.cwd), event.argvState, event.seq],
    ['/usr/bin/env', '/root', 'exact', 9],
  );
  assert.deepEqual(event.env.map(String), ['LD_PRELOAD=/tmp/x.so']);
  assert.equal(event.interpreter, undefined);
  assert.equal(event.auditSessionId, undefined);
  assert.equal(String(event.comm), 'sh');
});

test('exec flags and an unreadable argv say so', () => {
  const r = wire.record_exec;
  const event = decodeRecord(
    recordBytes({
      type: record_type.RECORD_EXEC,
      fixed: fixedPart(r.SIZE, (at, bytes) => {
        bytes.writeUInt32LE(wire.exec_flags.EXEC_FLAG_MEMFD | wire.exec_flags.EXEC_FLAG_DELETED, at(r.flags));
        bytes.writeUInt32LE(wire.argv_state.ARGV_UNREADABLE, at(r.argv_state));
        bytes.writeInt32LE(-14, at(r.argv_error));
      }),
    }),
  );
  assert.ok(event.type === 'exec');
  assert.deepEqual([event.memfd, event.deleted, event.ldExec, event.setuid], [true, true, false, false]);
  assert.deepEqual([event.argvState, event.argvError, event.argv], ['unreadable', 14, []]);
});

test('an open keeps a path that is no UTF-8, and a failed one its negative errno', () => {
  const odd = Buffer.from([0x2f, 0xff, 0xfe, 0x0a]);
  const event = decodeRecord(openRecord(1, odd, -13));
  assert.ok(event.type === 'open');
  assert.deepEqual(event.path, odd);
  assert.deepEqual([event.result, event.pathSource, event.kind], [-13, 'fd', 'disk']);
});

test('an exit tells a status from a signal', () => {
  const exit = (code: number) => {
    const r = wire.record_exit;
    const event = decodeRecord(
      recordBytes({
        type: record_type.RECORD_EXIT,
        fixed: fixedPart(r.SIZE, (at, bytes) => bytes.writeUInt32LE(code, at(r.exit_code))),
      }),
    );
    assert.ok(event.type === 'exit');
    return [event.status, event.signal, event.coreDumped];
  };
  assert.deepEqual(exit(3 << 8), [3, undefined, false]);
  assert.deepEqual(exit(9), [undefined, 9, false]);
  assert.deepEqual(exit(11 | 0x80), [undefined, 11, true]);
});

test('a connect names both ends, in IPv4 and in RFC 5952 IPv6', () => {
  const r = wire.record_connect;
  const v6 = (text: string, hex: string) => {
    const event = decodeRecord(
      connectRecord((at, bytes) => {
        bytes.writeUInt16LE(10, at(r.family));
        Buffer.from(hex, 'hex').copy(bytes, at(r.dst_addr));
      }),
    );
    assert.ok(event.type === 'connect');
    assert.equal(event.dstAddr, text);
  };
  v6('::1', '00000000000000000000000000000001');
  v6('::', '00000000000000000000000000000000');
  v6('2001:db8::1:0:0:1', '20010db8000000000001000000000001');
  v6('2001:db8:0:1:1:1:1:1', '20010db8000000010001000100010001');
  v6('fe80::', 'fe800000000000000000000000000000');
  v6('::ffff:192.0.2.7', '00000000000000000000ffffc0000207');
  const event = decodeRecord(
    connectRecord((at, bytes) => {
      bytes.writeUInt16LE(2, at(r.family));
      bytes.writeUInt16LE(443, at(r.dst_port));
      bytes.set([192, 0, 2, 1], at(r.dst_addr));
      bytes[at(r.outcome)] = wire.outcome.OUTCOME_FAILED;
      bytes.writeInt32LE(-111, at(r.error));
    }, record_type.RECORD_CONNECT_OUTCOME),
  );
  assert.ok(event.type === 'connect_outcome');
  assert.deepEqual(
    [event.dstAddr, event.dstPort, event.outcome, event.error],
    ['192.0.2.1', 443, 'failed', 111],
  );
});

test('the recorder’s own records carry the watch, the loss and the totals', () => {
  const watch = decodeRecord(
    recordBytes({
      type: record_type.RECORD_WATCH,
      kind: wire.kind.KIND_META,
      fixed: fixedPart(wire.record_watch.SIZE, (at, bytes) => {
        Buffer.from('00112233445566778899aabbccddeeff', 'hex').copy(bytes, at(wire.record_watch.session_id));
        bytes.writeUInt32LE(0b101, at(wire.record_watch.kinds));
        bytes.writeUInt32LE(2, at(wire.record_watch.policy));
      }),
    }),
  );
  assert.ok(watch.type === 'watch');
  assert.equal(watch.sessionId, '00112233-4455-6677-8899-aabbccddeeff');
  assert.deepEqual([watch.kinds, watch.policy], [['command', 'network'], 'strict']);

  const end = decodeRecord(
    recordBytes({
      type: record_type.RECORD_END,
      fixed: fixedPart(wire.record_end.SIZE, (at, bytes) => {
        const disk = at(wire.record_end.totals) + wire.kind.KIND_DISK * wire.kind_totals.SIZE;
        bytes.writeBigUInt64LE(10_000_000_000n, disk + wire.kind_totals.emitted);
        bytes.writeBigUInt64LE(4n, disk + wire.kind_totals.lost);
        bytes.writeBigUInt64LE(77n, at(wire.record_end.last_seq));
      }),
    }),
  );
  assert.ok(end.type === 'end');
  assert.deepEqual(end.totals.disk, { emitted: 10_000_000_000, recorded: 0, lost: 4 });
  assert.equal(end.lastSeq, 77);
});

test('what cannot be decoded is dropped with its reason', () => {
  const reason = (bytes: Buffer) => {
    const event = decodeRecord(bytes);
    assert.ok(event.type === 'drop');
    return event.reason;
  };
  const patched = (bytes: Buffer, at: number, value: number) => {
    bytes[at] = value;
    return bytes;
  };
  assert.equal(reason(Buffer.alloc(0)), 'short');
  assert.equal(reason(Buffer.concat([openRecord(1, '/x'), Buffer.alloc(8)])), 'length_mismatch');
  assert.equal(reason(patched(openRecord(1, '/x'), wire.record_header.type, 200)), 'unknown_type');
  assert.equal(reason(patched(openRecord(1, '/x'), wire.record_header.kind, 9)), 'unknown_kind');
  assert.equal(reason(recordBytes({ type: record_type.RECORD_EXEC, fixed: Buffer.alloc(8) })), 'short');
  const lyingTail = patched(openRecord(1, '/x'), wire.record_open.SIZE + wire.tlv.length + 2, 1);
  assert.equal(reason(lyingTail), 'bad_tail');
  assert.equal(
    reason(recordBytes({ type: record_type.RECORD_EXIT, fixed: Buffer.alloc(wire.record_exit.SIZE - 76) })),
    'bad_tail',
  );
});

test('a tag of a newer recorder is passed over', () => {
  const record = recordBytes({
    type: record_type.RECORD_OPEN,
    fixed: fixedPart(wire.record_open.SIZE),
    tail: [
      [999, Buffer.from('new')],
      [tlv_tag.TLV_PATH, Buffer.from('/x')],
    ],
  });
  const event = decodeRecord(record);
  assert.ok(event.type === 'open');
  assert.equal(String(event.path), '/x');
});

test('random bytes never throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), fc.integer({ min: -8, max: 600 }), (bytes, at) => {
      decodeRecord(Buffer.from(bytes), at);
      decodeRecord(Buffer.from(bytes), 0, at);
    }),
    { numRuns: 2000 },
  );
});

test('a valid record cut short or with flipped bytes never throws, and a cut one never decodes', () => {
  const samples = [
    execRecord(1, ['ls', '-l']),
    openRecord(2, '/etc/passwd'),
    ...Object.values(record_type).map((type) => recordBytes({ type, fixed: Buffer.alloc(200) })),
  ];
  const flips = fc.array(fc.tuple(fc.nat(400), fc.integer({ min: 0, max: 255 })), { maxLength: 6 });
  fc.assert(
    fc.property(fc.constantFrom(...samples), fc.nat(400), flips, (sample, cut, changes) => {
      if (cut < sample.length) assert.equal(decodeRecord(sample, 0, cut).type, 'drop');
      const mutated = Buffer.from(sample);
      for (const [at, value] of changes) if (at < mutated.length) mutated[at] = value;
      decodeRecord(mutated);
      // With the length put right again, so that the damage reaches the deeper parts.
      mutated.writeUInt32LE(mutated.length, wire.record_header.length);
      decodeRecord(mutated);
    }),
    { numRuns: 5000 },
  );
});

test('any argv round-trips', () => {
  const bytes = fc.uint8Array({ maxLength: 40 }).map((b) => Buffer.from(b.map((x) => x || 1)));
  fc.assert(
    fc.property(fc.array(bytes, { maxLength: 12 }), (argv) => {
      const area = Buffer.concat(argv.flatMap((a) => [a, Buffer.from([0])]));
      const event = decodeRecord(
        recordBytes({
          type: record_type.RECORD_EXEC,
          fixed: fixedPart(wire.record_exec.SIZE),
          tail: [[tlv_tag.TLV_ARGV, area]],
        }),
      );
      assert.ok(event.type === 'exec');
      assert.deepEqual(event.argv, argv);
    }),
  );
});
