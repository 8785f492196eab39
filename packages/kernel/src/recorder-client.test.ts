// Against a scripted peer, for what a healthy recorder never does; the real one is in *.root.test.ts.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { ControlStream, controlFrame } from './control-frames.ts';
import { RecorderClient } from './recorder-client.ts';
import { sessionIdBytes } from './session-id.ts';
import * as wire from './wire.gen.ts';

const { control_type } = wire;
const sid = '11111111-2222-3333-4444-555555555555';
let dir = '';
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'client-test-'));
});
after(() => rm(dir, { recursive: true }));

function helloFrame(): Buffer {
  const body = Buffer.alloc(wire.control_hello.SIZE);
  Buffer.from(wire.WIRE_HASH, 'hex').copy(body, wire.control_hello.wire_hash);
  body.writeUInt32LE(0b1000000000011, wire.control_hello.features);
  body.writeUInt32LE(3, wire.control_hello.resumed_sessions);
  return controlFrame(control_type.CONTROL_HELLO, 0, body);
}

let sockets = 0;
/** A peer that runs `script` for each connection and answers request n with `answer(id)`. */
async function peer(
  t: TestContext,
  script: (socket: Socket) => void,
  answer?: (id: number, type: number) => Buffer,
) {
  const socketPath = join(dir, `${sockets++}.sock`);
  const connections = new Set<Socket>();
  const server: Server = createServer((socket) => {
    connections.add(socket);
    socket.on('error', () => {});
    const stream = new ControlStream();
    socket.on('data', (chunk) => {
      const frames = stream.push(chunk);
      assert.ok(typeof frames !== 'string');
      for (const frame of frames) if (answer) socket.write(answer(frame.id, frame.type));
    });
    script(socket);
  });
  server.listen(socketPath);
  await once(server, 'listening');
  t.after(() => {
    for (const socket of connections) socket.destroy();
    server.close();
  });
  return socketPath;
}

async function connected(t: TestContext, socketPath: string, requestTimeoutMs = 2000) {
  const client = await RecorderClient.connect({ socketPath, requestTimeoutMs, helloTimeoutMs: 2000 });
  t.after(() => client.close());
  return client;
}

const statsBody = () => {
  const body = Buffer.alloc(wire.control_stats.SIZE);
  body.writeUInt32LE(5, wire.control_stats.sessions);
  return body;
};

test('the hello names the features that are attached', async (t) => {
  const client = await connected(t, await peer(t, (s) => s.write(helloFrame())));
  assert.deepEqual([...client.hello.features], ['exec', 'exit', 'open_tier1']);
  assert.equal(client.hello.wireHash, wire.WIRE_HASH);
  assert.equal(client.hello.resumedSessions, 3);
});

test('answers find their requests in any order', async (t) => {
  const held: number[] = [];
  const path = await peer(
    t,
    (s) => s.write(helloFrame()),
    (id) => {
      held.push(id);
      if (held.length < 3) return Buffer.alloc(0);
      return Buffer.concat(
        held.reverse().map((each) => controlFrame(control_type.CONTROL_STATS, each, statsBody())),
      );
    },
  );
  const client = await connected(t, path);
  const all = await Promise.all([client.stats(), client.stats(), client.stats()]);
  assert.deepEqual(
    all.map((stats) => stats.sessions),
    [5, 5, 5],
  );
});

test('a refusal carries the recorder’s words and its errno as a code', async (t) => {
  const body = Buffer.alloc(wire.control_error.SIZE);
  body.writeInt32LE(-17, wire.control_error.error);
  body.write('already watched', wire.control_error.message);
  const path = await peer(
    t,
    (s) => s.write(helloFrame()),
    (id) => controlFrame(control_type.CONTROL_ERROR, id, body),
  );
  const client = await connected(t, path);
  await assert.rejects(client.totals(sid), {
    message: 'already watched',
    code: 'recorder_eexist',
    kind: 'conflict',
  });
  await assert.rejects(client.totals('../etc'), { code: 'session_id' });
});

test('notifications that arrive together with the hello are not lost', async (t) => {
  const progress = Buffer.alloc(wire.control_progress.SIZE);
  sessionIdBytes(sid)?.copy(progress, 0);
  progress.writeBigUInt64LE(8_000_000_000n, wire.control_progress.spool_length);
  const path = await peer(t, (s) =>
    s.write(
      Buffer.concat([
        helloFrame(),
        controlFrame(control_type.CONTROL_PROGRESS, 0, progress),
        controlFrame(control_type.CONTROL_IDLE, 0, sessionIdBytes(sid)),
      ]),
    ),
  );
  const client = await connected(t, path);
  const seen: unknown[] = [];
  client.on('progress', (...args) => seen.push(args));
  await once(client, 'idle');
  assert.deepEqual(seen, [[sid, 8_000_000_000]]);
});

test('a request without an answer times out, and its late answer does no harm', async (t) => {
  let late: Buffer = Buffer.alloc(0);
  const path = await peer(
    t,
    (s) => s.write(helloFrame()),
    (id) => {
      if (late.length > 0)
        return Buffer.concat([late, controlFrame(control_type.CONTROL_STATS, id, statsBody())]);
      late = controlFrame(control_type.CONTROL_STATS, id, statsBody());
      return Buffer.alloc(0);
    },
  );
  const client = await connected(t, path, 40);
  await assert.rejects(client.stats(), { code: 'recorder_timeout' });
  assert.equal((await client.stats()).sessions, 5);
});

test('a peer that breaks the protocol fails every open request and closes once', async (t) => {
  const broken: Record<string, (id: number) => Buffer> = {
    'another version': (id) => {
      const frame = controlFrame(control_type.CONTROL_STATS, id, statsBody());
      frame.writeUInt16LE(77, wire.control_frame.version);
      return frame;
    },
    'a body beyond the limit': (id) => {
      const frame = controlFrame(control_type.CONTROL_STATS, id);
      frame.writeUInt32LE(wire.CONTROL_MAX_BODY + 1, wire.control_frame.length);
      return frame;
    },
    'a body too short': (id) => controlFrame(control_type.CONTROL_STATS, id, Buffer.alloc(3)),
    'an answer of another type': (id) => controlFrame(control_type.CONTROL_WATCH, id, statsBody()),
    'an unknown notification': () => controlFrame(99, 0, Buffer.alloc(16)),
  };
  for (const [what, answer] of Object.entries(broken)) {
    const client = await connected(t, await peer(t, (s) => s.write(helloFrame()), answer));
    let closed = 0;
    client.on('closed', (error) => {
      closed++;
      assert.match(String(error), /broke the control protocol/, what);
    });
    const results = await Promise.allSettled([client.stats(), client.list()]);
    assert.deepEqual(
      results.map((r) => r.status),
      ['rejected', 'rejected'],
      what,
    );
    assert.equal(closed, 1, what);
    await assert.rejects(client.stats(), { code: 'recorder_gone' }, what);
  }
});

test('a peer that goes away fails the open requests; our own close is no error', async (t) => {
  const path = await peer(
    t,
    (s) => s.write(helloFrame()),
    () => Buffer.alloc(0),
  );
  const client = await connected(t, path);
  const pending = client.stats();
  client.close();
  await assert.rejects(pending, { code: 'recorder_gone' });

  const leaving = await peer(t, (s) => {
    s.write(helloFrame());
    s.once('data', () => s.destroy());
  });
  const left = await connected(t, leaving);
  const closed = once(left, 'closed');
  await assert.rejects(left.stats(), { code: 'recorder_gone' });
  assert.match(String((await closed)[0]), /closed/);
});

test('no hello, or something else first, is refused with its reason', async (t) => {
  const silent = await peer(t, () => {});
  await assert.rejects(RecorderClient.connect({ socketPath: silent, helloTimeoutMs: 40 }), {
    code: 'recorder_timeout',
  });
  const other = await peer(t, (s) => s.write('HTTP/1.1 400 Bad Request\r\n\r\n'));
  await assert.rejects(RecorderClient.connect({ socketPath: other }), { code: 'recorder_protocol' });
  await assert.rejects(RecorderClient.connect({ socketPath: join(dir, 'none') }), { code: 'recorder_gone' });
});

test('more open requests than the bound are refused at once', async (t) => {
  const client = await connected(
    t,
    await peer(
      t,
      (s) => s.write(helloFrame()),
      () => Buffer.alloc(0),
    ),
  );
  const waiting = Array.from({ length: 1024 }, () => client.stats());
  await assert.rejects(client.stats(), { code: 'recorder_busy', kind: 'limit' });
  client.close();
  const settled = await Promise.allSettled(waiting);
  assert.ok(settled.every((r) => r.status === 'rejected'));
});

test('a stream of frames reads the same however it is cut', () => {
  const frames = [helloFrame(), controlFrame(4, 7, Buffer.alloc(96)), controlFrame(6, 8)];
  const bytes = Buffer.concat(frames);
  fc.assert(
    fc.property(fc.array(fc.nat(bytes.length), { maxLength: 12 }), (cuts) => {
      const stream = new ControlStream();
      const seen: [number, number][] = [];
      let from = 0;
      for (const cut of [...cuts.sort((a, b) => a - b), bytes.length]) {
        const got = stream.push(bytes.subarray(from, cut));
        assert.ok(typeof got !== 'string');
        seen.push(...got.map((f): [number, number] => [f.type, f.body.length]));
        from = cut;
      }
      assert.deepEqual(seen, [
        [1, wire.control_hello.SIZE],
        [4, 96],
        [6, 0],
      ]);
    }),
  );
});

test('random bytes into the stream end in frames or damage, never in an exception', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 5 }), (chunks) => {
      const stream = new ControlStream();
      for (const chunk of chunks) if (typeof stream.push(Buffer.from(chunk)) === 'string') return;
    }),
  );
});
