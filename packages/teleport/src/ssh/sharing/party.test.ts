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
  const write = async (bytes: Buffer) => {
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
  return { seen, stdin, made };
}

interface Options {
  readonly moderation?: Moderation;
  readonly refusal?: (person: Person, mode: JoinMode) => string | undefined;
  readonly logFails?: boolean;
  readonly holdMs?: number;
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
    freeze: (frozen) => void did.push(frozen ? 'freeze' : 'thaw'),
    end: (reason) => void did.push(`end: ${reason.message}`),
    changed: () => {},
  });
  party.attach(async (bytes) => void typed.push(bytes.toString()));
  const join = async (user: string, mode: JoinMode = 'observer') => {
    const client = channel();
    const found = await party.join({
      ...{ user, roles: [], traits: {}, mode, localAddr: 'a:1', remoteAddr: 'b:2' },
      channel: client.made,
      ping: () => new Promise(() => {}),
    });
    return { client, found };
  };
  return { party, owner, events, did, typed, join };
}

/** Somebody in the mode moderator must be there. */
const moderated = (onLeave: Missing['onLeave']): Moderation => ({
  missing: (present) =>
    present.some(({ mode }) => mode === 'moderator')
      ? []
      : [{ role: 'watched', needs: 'a moderator', onLeave }],
});
const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('a party', () => {
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
    assert.deepEqual([party.state, did], ['paused', ['freeze']]);
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
    assert.deepEqual([passed, party.state, did], [true, 'running', ['freeze', 'thaw']]);
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
    assert.match(did.join(), /^end: Nobody is left of those it needs/);
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
