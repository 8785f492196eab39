import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { type TestContext, test } from 'node:test';
import type { SessionChannel } from '../../ssh-transport/session-channel.ts';
import { facts } from '../facts.fixture.ts';
import { HandingOn, serveNextDoor } from './next-door.ts';
import { Party } from './party.ts';
import type { Moderation } from './sharing.ts';

function channel() {
  const seen = { text: '', status: undefined as number | undefined, closed: false };
  const write = async (bytes: Buffer) => {
    seen.text += bytes;
    return true;
  };
  const stdin = new PassThrough();
  const made: SessionChannel = {
    ...{ id: 0, stdin, stdout: { write }, stderr: { write } },
    get isOpen() {
      return !seen.closed;
    },
    exit: (status) => {
      seen.status = status;
    },
    exitSignal: () => {},
    eof: () => {},
    close: async () => {
      seen.closed = true;
    },
  };
  return { seen, stdin, made };
}

async function until(what: string, check: () => boolean): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (!check()) {
    assert.ok(Date.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** A session in one daemon, a joiner's channel in another. */
async function twoDaemons(
  t: TestContext,
  { refusal, moderation }: { refusal?: string; moderation?: Moderation } = {},
) {
  const typed: string[] = [];
  const owner = channel();
  const party = new Party({
    facts: { ...facts, terminal: { cols: 80, rows: 24 } },
    channel: owner.made,
    record: { append: async () => {}, emit: async () => {} },
    sharing: { refusesJoin: () => refusal, holdMs: 60_000 },
    moderation,
    standstill: { stop: async () => {}, go: async () => {} },
    end: () => {},
    changed: () => {},
  });
  party.attach(async (bytes) => void typed.push(bytes.toString()));
  const server = createServer((socket) => {
    const registry = { partyOf: (sid: string) => (sid === facts.sid ? party : undefined) };
    void serveNextDoor(socket, registry);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const sockets: Socket[] = [];
  const dial = async () => {
    const { port } = server.address() as { port: number };
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    sockets.push(socket);
    return [socket];
  };
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  const refused: string[] = [];
  let pings = 0;
  const join = (sid: string, until?: Date) => {
    const client = channel();
    const handing = new HandingOn({
      who: { user: 'max', roles: ['moderating'], traits: {}, localAddr: 'a:1', remoteAddr: 'b:2' },
      wish: { sid, mode: 'peer' },
      channel: client.made,
      ping: async () => {
        pings += 1;
        return 1;
      },
      until,
      neighbours: dial,
      refused: (reason) => void refused.push(reason),
    });
    return { client, handing };
  };
  return { party, owner, typed, refused, join, pings: () => pings };
}

test('a joiner reaches a session of another daemon: output, keys, signs of life, and the end', async (t) => {
  const moderation: Moderation = {
    missing: (present) => (present.length > 0 ? [] : [{ role: 'r', needs: 'somebody', onLeave: 'pause' }]),
    counts: () => true,
    silenceLimitMs: 10_000,
  };
  const { party, owner, typed, join, pings } = await twoDaemons(t, { moderation });
  const beginning = party.begin();
  const { client } = join(facts.sid);
  await beginning;
  await until('the joiner is in', () => /as peer/.test(client.seen.text));
  await party.output.write(Buffer.from('hello'));
  await until('output arrives', () => client.seen.text.endsWith('hello'));
  client.stdin.write('keys');
  await until('keys arrive', () => typed.join('') === 'keys');
  await until('the connection is asked for a sign of life', () => pings() > 1);
  assert.equal(party.report?.participants[1]?.user, 'max');
  await party.close('Bye.');
  await until('the channel is closed', () => client.seen.closed);
  assert.equal(client.seen.status, 0);
  assert.match(client.seen.text, /Bye\./);
  assert.equal(owner.seen.text.includes('hello'), true);
});

test('a joiner whose connection ends, or who is locked, leaves the session next door', async (t) => {
  const { party, join } = await twoDaemons(t);
  await party.begin();
  const first = join(facts.sid);
  await until('the joiner is in', () => party.report?.participants.length === 2);
  first.handing.channelClosed();
  await until('the joiner is out', () => party.report?.participants.length === 1);
  const second = join(facts.sid);
  await until('the joiner is in', () => party.report?.participants.length === 2);
  second.handing.end('locked');
  await until('the joiner is out', () => party.report?.participants.length === 1);
  assert.equal(second.client.seen.closed, true);
  assert.match(second.client.seen.text, /You were sent out of the session: locked/);
  await party.close('over');
});

test('the end of a joiner’s certificate is known next door', async (t) => {
  const { party, join } = await twoDaemons(t);
  await party.begin();
  const { client } = join(facts.sid, new Date(Date.now() + 300));
  await until('the joiner is in', () => party.report?.participants.length === 2);
  await until('the joiner is out', () => party.report?.participants.length === 1);
  await until('they are told', () => /Your certificate has expired/.test(client.seen.text));
  await party.close('over');
});

test('who is refused next door, or seeks what is nowhere, is told and put on record here', async (t) => {
  const { party, join, refused } = await twoDaemons(t, { refusal: 'no role allows it' });
  await party.begin();
  const there = join(facts.sid);
  await until('the refusal is told', () => there.client.seen.closed);
  assert.match(there.client.seen.text, /You cannot join this session: no role allows it/);
  const nowhere = join('44444444-2222-4333-8444-555555555555');
  await until('the refusal is told', () => nowhere.client.seen.closed);
  assert.match(nowhere.client.seen.text, /no such session lives on this node/);
  assert.deepEqual(refused, ['no role allows it', 'no such session lives on this node']);
  assert.deepEqual([there.client.seen.status, nowhere.client.seen.status], [254, 254]);
  await party.close('over');
});
