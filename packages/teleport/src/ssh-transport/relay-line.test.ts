import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Address } from './connection.ts';
import { RelayDoor } from './relay-door.ts';
import { type FirstBytes, FirstBytesReader, MAX_RELAY_LINE_BYTES, RELAY_MAGIC } from './relay-line.ts';
import type { RelayVerdict } from './ssh-server.ts';

const PERSON: Address = { host: '192.0.2.7', port: 4711 };
const IDENT = Buffer.from('SSH-2.0-OpenSSH_9.2p1\r\n\x00\x00binary\n');

/** What the reader says at last, and what it had been given by then. */
function read(pieces: readonly Buffer[]): { said: FirstBytes; given: Buffer } {
  const reader = new FirstBytesReader();
  for (const [n, piece] of pieces.entries()) {
    const said = reader.push(piece);
    if (said.kind !== 'more') return { said, given: Buffer.concat(pieces.slice(0, n + 1)) };
  }
  return { said: { kind: 'more' }, given: Buffer.concat(pieces) };
}

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const cuts = [...new Set(at.map((n) => n % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...cuts].map((from, n) => bytes.subarray(from, cuts[n] ?? bytes.length));
}

const cuts = fc.array(fc.nat(), { maxLength: 8 });
const lineText = fc.stringMatching(/^[\w.-]{0,300}$/);

test('a relay line is taken off whole, wherever it is cut', () => {
  fc.assert(
    fc.property(lineText, cuts, (text, at) => {
      const line = `${RELAY_MAGIC}${text}`;
      const { said, given } = read(cut(Buffer.concat([Buffer.from(`${line}\n`), IDENT]), at));
      assert.equal(said.kind, 'relayed');
      if (said.kind !== 'relayed') return;
      assert.equal(said.line, line);
      assert.deepEqual(said.rest, given.subarray(line.length + 1));
    }),
  );
});

test('the first bytes of anybody else pass at once and unchanged', () => {
  assert.deepEqual(new FirstBytesReader().push(Buffer.from('S')), {
    kind: 'client',
    bytes: Buffer.from('S'),
  });
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), cuts, (bytes, at) => {
      const all = Buffer.from(bytes);
      const { said, given } = read(cut(all, at));
      if (said.kind === 'client') assert.deepEqual(said.bytes, given);
      else assert.ok(RELAY_MAGIC.startsWith(all.toString('latin1', 0, RELAY_MAGIC.length)));
    }),
  );
});

test('what is nearly the magic is the client’s, byte for byte', () => {
  for (let n = 0; n < RELAY_MAGIC.length; n++) {
    const all = Buffer.from(RELAY_MAGIC);
    all[n] = 0;
    const { said, given } = read([...all].map((byte) => Buffer.of(byte)));
    assert.deepEqual(said, { kind: 'client', bytes: given });
    assert.equal(given.length, n + 1);
  }
});

test('a line without an end is given up at the bound, however it comes', () => {
  const endless = Buffer.from(RELAY_MAGIC.padEnd(MAX_RELAY_LINE_BYTES + 10, 'x'));
  for (const size of [1, 100, endless.length]) {
    const pieces = Array.from({ length: Math.ceil(endless.length / size) }, (_, n) =>
      endless.subarray(n * size, (n + 1) * size),
    );
    const { said, given } = read(pieces);
    assert.equal(said.kind, 'too-long');
    assert.ok(given.length < MAX_RELAY_LINE_BYTES + size);
  }
  const longest = `${RELAY_MAGIC.padEnd(MAX_RELAY_LINE_BYTES - 1, 'x')}\n`;
  assert.equal(read([Buffer.from(longest)]).said.kind, 'relayed');
  assert.equal(read([Buffer.from(`x${longest}`.slice(1).replace('\n', 'x\n'))]).said.kind, 'too-long');
});

interface Door {
  readonly door: RelayDoor;
  readonly opened: Buffer[];
  readonly refused: string[];
  readonly moved: Address[];
}

function doorWith(judge: (line: string) => Promise<RelayVerdict>): Door {
  const [opened, refused, moved]: [Buffer[], string[], Address[]] = [[], [], []];
  const door = new RelayDoor({
    judge,
    relayed: (remote) => moved.push(remote) > 0,
    ordinary: () => true,
    refuse: (reason) => refused.push(reason),
    open: (bytes) => opened.push(bytes),
  });
  return { door, opened, refused, moved };
}

test('what comes while the line is judged is kept for the client, cut at every byte', async () => {
  const all = Buffer.concat([Buffer.from(`${RELAY_MAGIC}abc.def.ghi\n`), IDENT]);
  for (let at = 0; at <= all.length; at++) {
    const { door, opened, refused, moved } = doorWith(async (line) =>
      line === `${RELAY_MAGIC}abc.def.ghi` ? { remote: PERSON } : { refuse: 'another line' },
    );
    for (const piece of [all.subarray(0, at), all.subarray(at)]) if (piece.length > 0) door.take(piece);
    await new Promise(setImmediate);
    assert.deepEqual({ opened, refused, moved }, { opened: [IDENT], refused: [], moved: [PERSON] }, `${at}`);
  }
});

test('a judge that says no or fails refuses, and nothing is opened', async () => {
  for (const judge of [async () => ({ refuse: 'no' }), () => Promise.reject(new Error('no'))]) {
    const { door, opened, refused } = doorWith(judge);
    door.take(Buffer.from(`${RELAY_MAGIC}x\nSSH-2.0-x\r\n`));
    await new Promise(setImmediate);
    assert.match(refused.join(), /no$/);
    assert.deepEqual(opened, []);
  }
});

test('a flood behind a line that is still judged is refused', () => {
  const { door, refused } = doorWith(() => new Promise(() => {}));
  door.take(Buffer.from(`${RELAY_MAGIC}x\n`));
  for (let n = 0; n < 5 && refused.length === 0; n++) door.take(Buffer.alloc(64 * 1024));
  assert.deepEqual(refused, ['too much came before an answer']);
});
