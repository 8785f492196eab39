// Shared sessions as people have them: owners and those who join, each by tsh on a terminal of their own, against a
// real node whose kernel records.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, type TestContext, test } from 'node:test';
import type { SessionTracker } from '@sallyport/contracts/api/session-trackers.ts';
import { Account, skip, TestCluster, until } from './cluster.fixture.ts';
import { joining, Stage, Ticks, watched } from './moderation.fixture.ts';

describe('tsh join', { skip, timeout: 240_000 }, () => {
  let account: Account;
  let cluster: TestCluster;
  let stage: Stage;

  before(async () => {
    account = new Account('join');
    cluster = await TestCluster.start({ secondFactor: 'off', enhanced: true });
    stage = new Stage(cluster, account);
    await cluster.put(joining('helper', ['peer', 'observer'], 'acc*'));
    await cluster.put(joining('watcher', ['observer'], 'access'));
    await cluster.put(joining('moderating', ['moderator'], 'watched'));
    await cluster.put(watched({ onLeave: 'pause' }));
    const people = { alice: 'access', bob: 'watched', pete: 'helper', olga: 'watcher', max: 'moderating' };
    const comes = async ([name, roles]: [string, string]) => {
      await cluster.person(name, { logins: account.name, roles });
      await cluster.makeHome(name);
      const { status, stderr } = await cluster.logIn(name);
      assert.equal(status, 0, stderr);
    };
    await Promise.all(Object.entries({ ...people, mallory: 'access' }).map(comes));
  });
  after(async () => {
    await stage?.close();
    await cluster?.remove();
    account?.remove();
  });

  async function sessionsOf(name: string): Promise<SessionTracker[]> {
    const { status, stdout, stderr } = await cluster.tsh(name, ['sessions', 'ls', '--format=json']);
    assert.equal(status, 0, stderr);
    return JSON.parse(stdout);
  }

  test('a peer and an observer see what the owner sees; the keys of the peer count, the observer’s do not', async () => {
    const { owner, sid } = await stage.begin('alice');
    await owner.shows(/\$ /);
    owner.type('echo first-$((40+2))\r');
    await owner.shows(/first-42/);
    const peer = stage.terminal('pete', `join --mode=peer ${sid}`);
    await peer.shows(/You are in the session of alice .* as peer.*101 columns and 33 rows/);
    await peer.shows(/first-42/);
    const observer = stage.terminal('olga', `join ${sid.slice(0, 8)}`);
    await observer.shows(/as observer/);
    await owner.shows(/olga joined the session as observer/);
    owner.type('echo from-owner-$((1+1))\r');
    for (const each of [owner, peer, observer]) await each.shows(/from-owner-2/);
    observer.type('echo from-observer-$((1+1))\r');
    peer.type('echo from-peer-$((1+1))\r');
    for (const each of [owner, peer, observer]) await each.shows(/from-peer-2/);
    assert.doesNotMatch(owner.shown, /from-observer/);
    const [tracker] = await sessionsOf('pete');
    assert.deepEqual(
      tracker?.spec.participants.map(({ user, mode }) => `${user} ${mode}`),
      ['alice owner', 'pete peer', 'olga observer'],
    );
    assert.deepEqual(tracker?.spec.join_modes, ['observer', 'peer']);
    assert.deepEqual(await sessionsOf('mallory'), []);
    observer.type('\x03');
    assert.equal(await observer.ended(), 0, observer.shown);
    await owner.shows(/olga left the session/);
    owner.type('exit\r');
    assert.equal(await owner.ended(), 0);
    assert.equal(await peer.ended(), 0, peer.shown);
    assert.deepEqual((await stage.ended(sid))['participants'], ['alice', 'pete', 'olga']);
    const recorded = await cluster.recordedEvents(sid);
    for (const each of ['session.join', 'session.input', 'session.leave'])
      assert.ok(recorded.includes(each), `${each} is in the recording`);
    const inputs = await stage.eventsOf('session.input', sid);
    const typed = (user: string) => inputs.filter((event) => event['user'] === user);
    assert.ok(typed('alice').length > 0 && typed('pete').length > 0, 'who typed is on record');
    assert.equal(typed('olga').length, 0);
    const bytes = typed('pete').reduce((sum, event) => sum + Number(event['bytes']), 0);
    assert.equal(bytes, 'echo from-peer-$((1+1))\r'.length);
    const order = [
      ...(await stage.eventsOf('session.join', sid)),
      ...(await stage.eventsOf('session.leave', sid)),
    ];
    assert.deepEqual(
      order.sort((a, b) => Number(a['ei']) - Number(b['ei'])).map((e) => [e['event'], e['user'], e['mode']]),
      [
        ['session.join', 'pete', 'peer'],
        ['session.join', 'olga', 'observer'],
        ['session.leave', 'olga', 'observer'],
        ['session.leave', 'pete', 'peer'],
        ['session.leave', 'alice', undefined],
      ],
    );
  });

  test('whoever has no role for it is refused by tsh, and past tsh by the node, which audits it', async () => {
    const { owner, sid } = await stage.begin('alice');
    await owner.shows(/\$ /);
    const refused = await cluster.tsh('mallory', ['join', '--mode=peer', sid]);
    assert.equal(refused.status, 255);
    assert.match(refused.stderr, /no live session|may not join/i);
    const more = await cluster.tsh('olga', ['join', '--mode=peer', sid]);
    assert.match(more.stderr, /You may not join the session of alice as peer.*\n?.*observer/);
    const raw = await stage.enterRaw('mallory', sid, 'observer');
    assert.deepEqual(await raw.exited, { code: 254 });
    const rejected = await until(
      'the refusal is audited',
      async () => (await stage.eventsOf('session.rejected', sid))[0],
    );
    assert.equal(rejected['user'], 'mallory');
    assert.match(String(rejected['reason']), /no role allows to join as observer/);
    owner.type('exit\r');
    await owner.ended();
  });

  test('a session held for a moderator runs nothing, lets in nobody else, and pauses within a second of losing them', async (t: TestContext) => {
    const { owner, sid, state } = await stage.begin('bob');
    assert.equal(state, 'pending');
    await owner.shows(/waits until somebody comes: 1 × moderator by "four eyes"/);
    assert.match(
      await cluster.tctl('sessions', 'ls'),
      new RegExp(`${sid} +pending +bob +${account.name}@node-1`),
    );
    assert.match(await cluster.tctl('sessions', 'ls', '--format=yaml'), /missing:\n +- .*four eyes/);
    owner.type('touch /tmp/never\r');
    for (const name of ['mallory', 'pete', 'bob']) {
      const raw = await stage.enterRaw(name, sid, 'moderator');
      assert.deepEqual(await raw.exited, { code: 254 }, name);
    }
    assert.deepEqual(stage.processes(), [], 'nothing runs as the account');
    const first = await stage.moderate(sid);
    await owner.shows(/\$ /);
    const ticks = new Ticks(account, 'ticks');
    owner.type(`${ticks.command()}\r`);
    await ticks.moves();

    const killedAt = performance.now();
    first.child.kill('SIGKILL');
    await owner.shows(/The session is paused/);
    const toldMs = performance.now() - killedAt;
    const stoppedMs = (await ticks.stops()) - killedAt;
    const last = ticks.size;
    t.diagnostic(
      `moderator killed: paused after ${toldMs.toFixed(0)} ms, last sign of life after ${stoppedMs.toFixed(0)} ms`,
    );
    assert.ok(toldMs < 1_000 && stoppedMs < 1_000, `${toldMs} ms, ${stoppedMs} ms`);
    const from = owner.shown.length;
    owner.type('echo typed-while-$((1+1))\r');
    assert.equal((await cluster.sessions())[0]?.spec.state, 'paused');
    assert.equal(ticks.size, last, 'frozen');

    const second = await stage.moderate(sid);
    await owner.shows(/The session goes on/, from);
    owner.type('echo again-$((1+1))\r');
    await owner.shows(/again-2/, from);
    assert.doesNotMatch(owner.shown, /typed-while/, 'what was typed meanwhile went nowhere');
    // A moderator whose machine says nothing any more, as behind a network that swallows everything.
    second.child.kill('SIGSTOP');
    const silentAt = performance.now();
    const silentMs = (await ticks.stops()) - silentAt;
    t.diagnostic(`moderator silent: last sign of life after ${silentMs.toFixed(0)} ms`);
    assert.ok(silentMs < 1_000, `${silentMs} ms`);
    second.child.kill('SIGCONT');
    await ticks.moves();
    second.type('t');
    await owner.shows(/The moderator max ended it/);
    assert.deepEqual(await second.ended, [0, null], second.shown());
    const end = await stage.ended(sid);
    assert.deepEqual(end['participants'], ['bob', 'max']);
    assert.equal(end['enhanced_recording'], true);
    assert.equal(existsSync('/tmp/never'), false);
    await stage.nothingRuns();
  });

  test('on_leave: terminate ends the session within a second; commands without a terminal are refused', async (t: TestContext) => {
    await cluster.put(watched({ onLeave: 'terminate' }));
    const command = await cluster.tsh('bob', ['ssh', `${account.name}@node-1`, 'id']);
    assert.match(command.stderr, /requires that somebody else sees/);
    const { owner, sid } = await stage.begin('bob');
    const moderator = await stage.moderate(sid);
    await owner.shows(/\$ /);
    const killedAt = performance.now();
    moderator.child.kill('SIGKILL');
    await owner.shows(/This session was ended: Nobody is left of those it needs/);
    await stage.nothingRuns();
    const ms = performance.now() - killedAt;
    t.diagnostic(`moderator killed: session ended after ${ms.toFixed(0)} ms`);
    assert.ok(ms < 1_000, `${ms} ms`);
    await stage.ended(sid);
  });

  test('a joiner who does not read is dropped, and costs the owner nothing', async (t: TestContext) => {
    const { owner, sid } = await stage.begin('alice');
    await owner.shows(/\$ /);
    const flood = async (word: string) => {
      const began = performance.now();
      owner.type(`head -c 8000000 /dev/zero | tr '\\0' 'x'; echo; echo ${word}-$((1+1))\r`);
      // Looked for at the end only: what was shown has megabytes.
      await until('all of it is shown', () => owner.shown.slice(-100).includes(`${word}-2`));
      return performance.now() - began;
    };
    const alone = await flood('alone');
    await stage.enterRaw('olga', sid, 'observer'); // nobody reads its stdout
    await owner.shows(/olga joined/);
    const shared = await flood('shared');
    t.diagnostic(
      `8 MB for the owner: alone ${alone.toFixed(0)} ms, beside one who does not read ${shared.toFixed(0)} ms`,
    );
    const left = await until(
      'it is dropped',
      async () => (await stage.eventsOf('session.leave', sid))[0],
      15_000,
    );
    assert.match(String(left['reason']), /does not read/);
    assert.ok(shared < 3 * alone + 2_000, `${shared} ms`);
    owner.type('exit\r');
    await owner.ended();
  });

  test('a session goes on being shared after a reload, though another daemon serves by then', async () => {
    const { owner, sid } = await stage.begin('alice');
    await owner.shows(/\$ /);
    const before = stage.terminal('pete', `join --mode=peer ${sid}`);
    await owner.shows(/pete joined/);
    await cluster.reload();
    const observer = stage.terminal('olga', `join ${sid}`);
    await owner.shows(/olga joined the session as observer/);
    before.type('echo still-$((1+1))\r');
    for (const each of [owner, before, observer]) await each.shows(/still-2/);
    const raw = await stage.enterRaw('mallory', sid, 'observer');
    assert.deepEqual(await raw.exited, { code: 254 });
    observer.type('\x03');
    await owner.shows(/olga left the session/);
    assert.equal(await observer.ended(), 0, observer.shown);
    owner.type('exit\r');
    assert.equal(await owner.ended(), 0);
    assert.deepEqual((await stage.ended(sid))['participants'], ['alice', 'pete', 'olga']);
  });

  test('a lock ends a participation within a second, and leaves the session alone', async (t: TestContext) => {
    const { owner, sid } = await stage.begin('alice');
    await owner.shows(/\$ /);
    const observer = stage.terminal('olga', `join ${sid}`);
    await owner.shows(/olga joined/);
    await cluster.tctl('lock', '--user=olga', '--message=go');
    await owner.shows(/olga left the session/);
    const [left] = await until('it is on record', async () => {
      const leaves = await stage.eventsOf('session.leave', sid);
      return leaves.length > 0 && leaves;
    });
    const [lock] = await cluster.events('lock.created');
    const ms = Date.parse(String(left?.['time'])) - Date.parse(String(lock?.['time']));
    t.diagnostic(`locked: out after ${ms} ms`);
    assert.ok(ms < 1_000, `${ms} ms`);
    assert.match(String(left?.['reason']), /lock/);
    await observer.ended();
    owner.type('exit\r');
    assert.equal(await owner.ended(), 0);
  });
});
