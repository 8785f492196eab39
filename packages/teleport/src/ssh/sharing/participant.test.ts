import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { mock, test } from 'node:test';
import type { SessionChannel } from '../../ssh-transport/session-channel.ts';
import { Participant } from './participant.ts';

/** A channel whose client reads when it is told to. */
class Client {
  readonly stdin = new PassThrough();
  seen = '';
  reads = true;
  status: number | undefined;
  #waiting: (() => void)[] = [];

  read(): void {
    this.reads = true;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  get channel(): SessionChannel {
    const write = async (bytes: Buffer) => {
      if (!this.reads) await new Promise<void>((resolve) => this.#waiting.push(resolve));
      this.seen += bytes.toString();
      return true;
    };
    return {
      id: 0,
      stdin: this.stdin,
      stdout: { write },
      stderr: { write },
      isOpen: true,
      exit: (status) => {
        this.status = status;
      },
      exitSignal: () => {},
      eof: () => {},
      close: async () => {},
    };
  }
}

function join(excused = () => false) {
  const client = new Client();
  const left: string[] = [];
  const typed: string[] = [];
  const facts = {
    user: 'olga',
    roles: [],
    traits: {},
    mode: 'observer',
    joined: '',
    localAddr: '',
    remoteAddr: '',
  } as const;
  const participant = new Participant(facts, client.channel, {
    typed: (_, bytes) => void typed.push(bytes.toString()),
    left: (_, reason) => void left.push(reason),
    excused,
  });
  return { client, left, typed, participant };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test('what is sent arrives in its order', async () => {
  const { client, participant } = join();
  for (let n = 0; n < 100; n++) participant.send(Buffer.from(`${n},`));
  await settled();
  assert.equal(client.seen, Array.from({ length: 100 }, (_, n) => `${n},`).join(''));
});

test('whoever reads slowly misses the middle, is told how much, and memory stays bounded', async () => {
  const { client, participant, left } = join();
  client.reads = false;
  participant.send(Buffer.from('first '));
  for (let n = 0; n < 200; n++) participant.send(Buffer.alloc(64 * 1024, 'x'));
  participant.send(Buffer.from(' last'));
  client.read();
  await settled();
  await settled();
  assert.match(client.seen, /^first /);
  assert.match(client.seen, /About \d+ KiB of output were skipped/);
  assert.match(client.seen, / last$/);
  assert.ok(client.seen.length < 2 * 1024 * 1024, `${client.seen.length}`);
  assert.deepEqual(left, []);
});

test('whoever does not read at all is dropped, and sending never waits', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const { client, participant, left } = join();
    client.reads = false;
    participant.send(Buffer.from('a'));
    mock.timers.tick(4_999);
    assert.deepEqual(left, []);
    mock.timers.tick(1);
    assert.deepEqual(left, ['does not read what the session shows']);
    assert.equal(participant.isOver, true);
    participant.send(Buffer.from('b'));
    mock.timers.tick(60_000);
    assert.equal(left.length, 1, 'told once');
  } finally {
    mock.timers.reset();
  }
});

test('whoever is excused is not dropped for as long', () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    let excused = true;
    const { client, participant, left } = join(() => excused);
    client.reads = false;
    participant.send(Buffer.from('a'));
    mock.timers.tick(60_000);
    assert.deepEqual(left, []);
    excused = false;
    mock.timers.tick(5_000);
    assert.deepEqual(left, ['does not read what the session shows']);
  } finally {
    mock.timers.reset();
  }
});

test('who must see it all is waited for, until they are gone', async () => {
  const { client, participant } = join();
  client.reads = false;
  for (let n = 0; n < 3; n++) participant.send(Buffer.alloc(64 * 1024, 'x'));
  const states: string[] = [];
  const waiting = participant.caughtUp().then(() => states.push('caught up'));
  await settled();
  assert.deepEqual(states, []);
  participant.channelClosed();
  await waiting;
  assert.deepEqual(states, ['caught up']);
});

test('leaving is told once, with the last words and status 0', async () => {
  const { client, participant, left, typed } = join();
  participant.listen();
  client.stdin.write('hello');
  await settled();
  await participant.leave('the session ended', 'Bye.');
  participant.channelClosed();
  assert.deepEqual([left, typed, client.status], [['the session ended'], ['hello'], 0]);
  assert.match(client.seen, /Bye\./);
});

test('the end of what somebody types is no leaving', async () => {
  const { client, participant, left } = join();
  participant.listen();
  client.stdin.end();
  await settled();
  assert.deepEqual(left, []);
});
