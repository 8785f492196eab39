import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { describe, test } from 'node:test';
import { type JoinMode, maxParticipants } from '@sallyport/contracts/api/session-trackers.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import type { SessionChannel } from '../../ssh-transport/session-channel.ts';
import { facts as plainFacts } from '../facts.fixture.ts';
import { Participant } from './participant.ts';
import { Party } from './party.ts';
import type { Missing, Moderation, Person } from './sharing.ts';

const facts = { ...plainFacts, terminal: { cols: 80, rows: 24 } };

function channel() {
  const seen = { text: '', status: undefined as number | undefined };
  let reading: PromiseWithResolvers<void> | undefined;
  const reads = (does: boolean) => {
    if (does) reading?.resolve();
    reading = does ? undefined : Promise.withResolvers();
  };
  const write = async (bytes: Buffer) => {
    await reading?.promise;
    seen.text += bytes;
    return true;
  };
  const stdin = new PassThrough();
  const made: SessionChannel = {
    ...{ id: 0, stdin, stdout: { write }, stderr: { write }, isOpen: true },
    exit: (status) => {
      seen.status = status;
    },
    exitSignal: () => {},
    eof: () => {},
    close: async () => {},
  };
  return { seen, stdin, made, reads };
}

interface Options {
  readonly moderation?: Moderation;
  readonly refusal?: (person: Person, mode: JoinMode) => string | undefined;
  readonly logFails?: boolean;
  readonly holdMs?: number;
  /** What runs cannot be stopped. */
  readonly unstoppable?: boolean;
}

function session(options: Options = {}) {
  const owner = channel();
  const events: EventDraft[] = [];
  const did: string[] = [];
  const typed: string[] = [];
  const party = new Party({
    facts,
    channel: owner.made,
    record: {
      append: async (draft) => {
        if (options.logFails) throw new AppError('unavailable', 'x.y', 'the disk is full');
        events.push(draft);
      },
      emit: async (draft) => void events.push(draft),
    },
    sharing: {
      refusesJoin: (person, _owner, mode) => options.refusal?.(person, mode),
      holdMs: options.holdMs ?? 60_000,
    },
    moderation: options.moderation,
    standstill: {
      stop: async () => {
        did.push('stop');
        if (options.unstoppable) throw new AppError('unsupported', 'session.cannot_stop', 'no cgroup');
      },
      go: async () => void did.push('go'),
    },
    end: (reason) => void did.push(`end: ${reason.message}`),
    changed: () => {},
  });
  party.attach(async (bytes) => void typed.push(bytes.toString()));
  const join = async (user: string, mode: JoinMode = 'observer', until?: Date) => {
    const client = channel();
    const line = { answers: true };
    const found = await party.join({
      ...{ user, roles: [], traits: {}, mode, localAddr: 'a:1', remoteAddr: 'b:2' },
      channel: client.made,
      ping: () => (line.answers ? Promise.resolve(1) : new Promise(() => {})),
      until,
    });
    return { client, found, line };
  };
  return { party, owner, events, did, typed, join };
}

/** Somebody in the mode moderator must be there. */
const moderated = (onLeave: Missing['onLeave']): Moderation => ({
  missing: (present) =>
    present.some(({ mode }) => mode === 'moderator')
      ? []
      : [{ role: 'watched', needs: 'a moderator', onLeave }],
  counts: ({ mode }) => mode === 'moderator',
  silenceLimitMs: 2_000,
});
const settled = () => new Promise((resolve) => setImmediate(resolve));
async function shows({ seen }: ReturnType<typeof channel>, what: RegExp): Promise<void> {
  const deadline = performance.now() + 5_000;
  while (!what.test(seen.text)) {
    assert.ok(performance.now() < deadline, `${what}: ${seen.text}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('a party', { concurrency: true }, () => {
  test('takes nobody before session.start is in the log, and nobody after the end', async () => {
    const { party, join } = session();
    assert.match(String((await join('pete')).found), /does not take anybody now/);
    await party.begin();
    assert.ok((await join('pete')).found instanceof Participant);
    await party.close('over');
    assert.match(String((await join('pete')).found), /does not take anybody now/);
  });

  test('lets nobody in whom the log cannot name', async () => {
    const { party, join, owner } = session({ logFails: true });
    await party.begin();
    assert.match(String((await join('pete')).found), /the disk is full/);
    await party.output.write(Buffer.from('secret'));
    assert.equal(owner.seen.text, 'secret');
    assert.deepEqual(party.participants, ['alice']);
  });

  test('is bounded', async () => {
    const { party, join } = session();
    await party.begin();
    const all = await Promise.all(Array.from({ length: maxParticipants + 5 }, (_, n) => join(`u${n}`)));
    assert.equal(all.filter(({ found }) => found instanceof Participant).length, maxParticipants - 1);
    assert.equal(party.report?.participants.length, maxParticipants);
    await party.close('over');
  });

  test('has nobody take the places of all others', async () => {
    const { party, join } = session();
    await party.begin();
    const all = await Promise.all(Array.from({ length: 9 }, () => join('pete')));
    assert.equal(all.filter(({ found }) => found instanceof Participant).length, 4);
    assert.equal(all.at(-1)?.found, 'pete is in it 4 times already');
    assert.ok((await join('max')).found instanceof Participant);
    await party.close('over');
  });

  test('sends out whoever may not be in it any more', async () => {
    let allowed = true;
    const { party, join, events } = session({ refusal: () => (allowed ? undefined : 'no role allows it') });
    await party.begin();
    const { client } = await join('pete');
    party.recheck();
    assert.equal(events.at(-1)?.event, 'session.join');
    allowed = false;
    party.recheck();
    await settled();
    assert.deepEqual(
      events.map((event) => event.event),
      ['session.join', 'session.leave'],
    );
    assert.match(client.seen.text, /You may not be in this session: no role allows it/);
  });

  test('holds a session until it is complete, and drops what was typed meanwhile', async () => {
    const { party, join, owner } = session({ moderation: moderated('pause') });
    let began = false;
    const beginning = party.begin().then(() => {
      began = true;
    });
    owner.stdin.write('rm -rf /\r');
    await join('pete', 'peer');
    await settled();
    assert.deepEqual([began, party.state], [false, 'pending']);
    await join('max', 'moderator');
    await beginning;
    assert.equal(party.state, 'running');
    assert.equal(party.ownerTyped(Buffer.from('x')), true);
    await party.close('over');
  });

  test('gives up holding after its time, at ctrl-c, and when it is told to', async () => {
    const late = session({ moderation: moderated('pause'), holdMs: 5 });
    await assert.rejects(late.party.begin(), { code: 'session.nobody_came' });
    const impatient = session({ moderation: moderated('pause') });
    const waiting = impatient.party.begin();
    impatient.owner.stdin.write('\x03');
    await assert.rejects(waiting, { code: 'session.given_up' });
    const left = session({ moderation: moderated('pause') });
    const leaving = left.party.begin();
    left.party.abort(new AppError('unavailable', 'a.b', 'Its owner left.'));
    await assert.rejects(leaving, { code: 'a.b' });
  });

  test('with on_leave pause stands still: no output, no input; and goes on when it is complete again', async () => {
    const { party, join, owner, did, typed } = session({ moderation: moderated('pause') });
    const beginning = party.begin();
    const { found } = await join('max', 'moderator');
    const peer = await join('pete', 'peer');
    await beginning;
    assert.ok(found instanceof Participant);
    await found.leave('left');
    assert.deepEqual([party.state, did.splice(0)], ['paused', ['stop', 'go', 'stop']]);
    let passed: boolean | undefined;
    const writing = party.output.write(Buffer.from('unseen')).then((sent) => {
      passed = sent;
    });
    assert.equal(party.ownerTyped(Buffer.from('x')), false);
    peer.client.stdin.write('typed');
    await settled();
    assert.deepEqual([passed, typed], [undefined, []]);
    assert.doesNotMatch(owner.seen.text, /unseen/);
    await join('max', 'moderator');
    await writing;
    assert.deepEqual([passed, party.state, did], [true, 'running', ['go']]);
    assert.match(owner.seen.text, /unseen/);
    await party.close('over');
  });

  test('that ends while it is paused shows nothing more', async () => {
    const { party, join, owner } = session({ moderation: moderated('pause') });
    const beginning = party.begin();
    const { found } = await join('max', 'moderator');
    await beginning;
    assert.ok(found instanceof Participant);
    await found.leave('left');
    const writing = party.output.write(Buffer.from('unseen'));
    await party.close('over');
    assert.equal(await writing, false);
    assert.doesNotMatch(owner.seen.text, /unseen/);
  });

  test('with on_leave terminate ends', async () => {
    const { party, join, did } = session({ moderation: moderated('terminate') });
    const beginning = party.begin();
    const { found } = await join('max', 'moderator');
    await beginning;
    assert.ok(found instanceof Participant);
    await found.leave('left');
    assert.match(did.join(), /^stop,go,end: Nobody is left of those it needs/);
    await party.close('over');
  });

  for (const onLeave of ['pause', 'terminate'] as const)
    test(`stands still while those it needs say nothing, and goes on when they answer in time (${onLeave})`, async () => {
      const { party, join, owner, did, events } = session({ moderation: moderated(onLeave) });
      const beginning = party.begin();
      const { client, line } = await join('max', 'moderator');
      await beginning;
      did.length = 0;
      line.answers = false;
      const silentAt = performance.now();
      await shows(owner, /The session stands still: those it needs say nothing/);
      assert.ok(performance.now() - silentAt < 900);
      assert.deepEqual([did, party.state, party.runs], [['stop'], 'paused', false]);
      assert.equal(party.ownerTyped(Buffer.from('x')), false);
      const writing = party.output.write(Buffer.from('unseen'));
      await settled();
      assert.doesNotMatch(owner.seen.text, /unseen/);
      line.answers = true;
      await writing;
      assert.deepEqual([did, party.state], [['stop', 'go'], 'running']);
      assert.match(client.seen.text, /stands still.*goes on.*unseen/s);
      assert.deepEqual(
        events.map((event) => ('state' in event ? `${event.event} ${event.state}` : event.event)),
        [
          'session.join',
          'session.presence silent',
          'session.pause',
          'session.presence returned',
          'session.resume',
        ],
      );
      await party.close('over');
    });

  test('counts silence beyond its limit as leaving', async () => {
    const { party, join, owner, did, events } = session({ moderation: moderated('terminate') });
    const beginning = party.begin();
    const { line } = await join('max', 'moderator');
    await beginning;
    line.answers = false;
    const silentAt = performance.now();
    await shows(owner, /max left the session: does not answer any more/);
    const ms = performance.now() - silentAt;
    assert.ok(ms > 1_500 && ms < 2_600, `${ms} ms`);
    assert.match(did.at(-1) ?? '', /^end: Nobody is left/);
    assert.equal(events.at(-1)?.event, 'session.leave');
    await party.close('over');
  });

  test('does not ask those whom nobody needs, whose silence costs nothing', async () => {
    const { party, join, did } = session({ moderation: moderated('pause') });
    const beginning = party.begin();
    await join('max', 'moderator');
    const { line } = await join('olga', 'observer');
    await beginning;
    line.answers = false;
    await new Promise((resolve) => setTimeout(resolve, 900));
    assert.deepEqual([did, party.runs], [['stop', 'go'], true]);
    await party.close('over');
  });

  test('does not begin where nothing could stop it, and ends where it cannot be stopped any more', async () => {
    const host = { moderation: moderated('pause'), unstoppable: true };
    const never = session(host);
    await assert.rejects(never.party.begin(), { code: 'session.cannot_stop' });
    let broken = false;
    const later = session({
      moderation: moderated('pause'),
      get unstoppable() {
        return broken;
      },
    });
    const beginning = later.party.begin();
    const { found } = await later.join('max', 'moderator');
    await beginning;
    broken = true;
    assert.ok(found instanceof Participant);
    await found.leave('left');
    await settled();
    assert.deepEqual(later.did, ['stop', 'go', 'stop', 'end: no cgroup']);
    await later.party.close('over');
    await never.party.close('over');
  });

  test('waits with its output for whoever must see it, and for nobody else', async () => {
    const { party, join, owner } = session({ moderation: moderated('pause') });
    const beginning = party.begin();
    const moderator = await join('max', 'moderator');
    const observer = await join('olga');
    await beginning;
    await settled();
    observer.client.reads(false);
    const flood = () => Array.from({ length: 4 }, () => party.output.write(Buffer.alloc(64 * 1024, 'x')));
    await Promise.all(flood());
    moderator.client.reads(false);
    const written = Promise.all(flood()).then(() => 'written');
    assert.equal(await Promise.race([written, settled().then(() => 'waits')]), 'waits');
    moderator.client.reads(true);
    assert.equal(await written, 'written');
    assert.doesNotMatch(moderator.client.seen.text, /were skipped/);
    assert.match(owner.seen.text, /x$/);
    observer.client.reads(true);
    await party.close('over');
  });

  test('shows slow readers what was shown, though its buffer holds something else by then', async () => {
    const { party, join } = session();
    await party.begin();
    const { client } = await join('olga');
    await settled();
    client.reads(false);
    const buffer = Buffer.from('first');
    await party.output.write(buffer);
    buffer.write('other');
    await party.output.write(buffer);
    buffer.write('third');
    client.reads(true);
    await shows(client, /firstother$/);
    await party.close('over');
  });

  test('sends out at once whose certificate ends, and takes nobody whose has ended', async () => {
    const { party, join, events } = session();
    await party.begin();
    const { client } = await join('pete', 'peer', new Date(Date.now() + 300));
    await shows(client, /Your certificate has expired/);
    assert.deepEqual(party.report?.participants.length, 1);
    const late = await join('olga', 'observer', new Date(Date.now() - 1));
    assert.ok(late.found instanceof Participant && late.found.isOver);
    assert.doesNotMatch(late.client.seen.text, /You are in the session/);
    assert.deepEqual(
      events.map(({ event }) => event),
      ['session.join', 'session.leave', 'session.join', 'session.leave'],
    );
    await party.close('over');
  });

  test('a moderator ends it with one t, not with a text that has one', async () => {
    const { party, join, did } = session();
    await party.begin();
    const { client } = await join('max', 'moderator');
    client.stdin.write('not this');
    await settled();
    assert.deepEqual(did, []);
    client.stdin.write('t');
    await settled();
    assert.deepEqual(did, ['end: The moderator max ended it.']);
    await party.close('over');
  });

  test('writes down who typed how much, once somebody else could have', async () => {
    const { party, join, events } = session();
    await party.begin();
    party.ownerTyped(Buffer.from('alone'));
    const peer = await join('pete', 'peer');
    party.ownerTyped(Buffer.from('abc'));
    peer.client.stdin.write('12345');
    await settled();
    await party.close('over');
    const marks = events.filter((event) => event.event === 'session.input');
    assert.deepEqual(
      marks.map((event) => [event.user, event.mode, event.bytes]),
      [
        ['alice', 'owner', 3],
        ['pete', 'peer', 5],
      ],
    );
    assert.equal(events.at(-1)?.event, 'session.leave', 'what was typed stands before the leaving');
  });
});
