import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { answerWants, parseAnswer } from './answers.ts';
import { PacketFramer } from './packet-framer.ts';
import { MAX_PACKET_BYTES } from './protocol.ts';
import { parseRequest, requestWants } from './requests.ts';

const packet = (type: number, body: Buffer): Buffer => {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length + 1);
  head.writeUInt8(type, 4);
  return Buffer.concat([head, body]);
};

/** The stream cut where `cuts` say (parts of a thousand). */
function cut(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.map((part) => Math.floor((part * bytes.length) / 1_000)), bytes.length];
  places.sort((a, b) => a - b);
  return places.slice(1).map((place, i) => bytes.subarray(places[i], place));
}

const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));

test('gives the same packets however the stream is cut, and of each as much as was wanted', () => {
  const packets = fc.array(fc.tuple(fc.nat(255), bytes(600)), { maxLength: 12 });
  const cuts = fc.array(fc.nat(1_000), { maxLength: 40 });
  fc.assert(
    fc.property(packets, cuts, (sent, where) => {
      const got: [number, string, number][] = [];
      const framer = new PacketFramer({
        wants: (type) => (type % 3 === 0 ? 100 : Number.POSITIVE_INFINITY),
        packet: (type, body, length) => {
          got.push([type, body.toString('hex'), length]);
          return undefined;
        },
      });
      const stream = Buffer.concat(sent.map(([type, body]) => packet(type, body)));
      for (const chunk of cut(stream, where)) assert.equal(framer.feed(chunk), undefined);
      const wanted = sent.map(([type, body]) => [
        type,
        body.subarray(0, type % 3 === 0 ? 100 : undefined).toString('hex'),
        body.length,
      ]);
      assert.deepEqual(got, wanted);
      assert.ok(framer.isBetween);
    }),
  );
});

test('stops for good at a packet of no length, or of one that cannot be', () => {
  for (const length of [0, MAX_PACKET_BYTES + 1, 0xffff_ffff]) {
    const seen: number[] = [];
    const framer = new PacketFramer({ wants: () => 10, packet: (type) => void seen.push(type) });
    const head = Buffer.alloc(9);
    head.writeUInt32BE(length);
    assert.match(framer.feed(head) ?? '', /packet of \d+ bytes/);
    assert.match(framer.feed(packet(1, Buffer.alloc(4))) ?? '', /packet of \d+ bytes/);
    assert.deepEqual(seen, []);
  }
});

test('reads any bytes as a request and as an answer without throwing, and keeps no more than it wants', () => {
  fc.assert(
    fc.property(fc.nat(255), bytes(400), (type, body) => {
      for (const [wants, parse] of [
        [requestWants, parseRequest],
        [answerWants, parseAnswer],
      ] as const) {
        const parsed = parse(type, body.subarray(0, wants(type)), body.length);
        assert.ok(typeof parsed === 'string' || parsed.id >= 0);
      }
    }),
    { numRuns: 2_000 },
  );
});
