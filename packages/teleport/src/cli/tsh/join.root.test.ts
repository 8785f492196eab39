// Shared sessions as people have them: owners and those who join, each by tsh on a terminal of their own, against a
// real node whose kernel records.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import type { RoleDocument } from '@sallyport/contracts/api/resources.ts';
import type { SessionTracker } from '@sallyport/contracts/api/session-trackers.ts';
import { type JoinMode, joinLogin, joinVariables } from '@sallyport/contracts/api/session-trackers.ts';
import type { ClientSession } from '../../ssh-transport/ssh-client.ts';
import { Account, skip, TestCluster, tshProgram, until } from './cluster.fixture.ts';
import { connectNode } from './connect-node.ts';
import { requireProfile } from './profile.ts';
import { Terminal } from './terminal.fixture.ts';

describe('tsh join', { skip, timeout: 240_000 }, () => {
  let account: Account;
  let cluster: TestCluster;
  const closing: (() => unknown)[] = [];

  const joining = (name: string, modes: JoinMode[], of: string): RoleDocument => ({
    kind: 'role',
    metadata: { name },
    spec: { allow: { join_sessions: [{ name, roles: [of], kinds: ['ssh'], modes }] } },
  });
  /** As `access`, and somebody of the role `moderating` must be there. */
  const watched = (onLeave: 'pause' | 'terminate'): RoleDocument => ({
    kind: 'role',
    metadata: { name: 'watched' },
    spec: {
      allow: {
        logins: ['{{internal.logins}}'],
        node_labels: { '*': '*' },
        require_session_join: [
          {
            name: 'four eyes',
            filter: 'contains(user.spec.roles, "moderating")',
            kinds: ['ssh'],
            modes: ['moderator'],
            count: 1,
            on_leave: onLeave,
          },
        ],
      },
    },
  });

  before(async () => {
    account = new Account('join');
    cluster = await TestCluster.start({ secondFactor: 'off', enhanced: true });
    await cluster.put(joining('helper', ['peer', 'observer'], 'acc*'));
    await cluster.put(joining('watcher', ['observer'], 'access'));
    await cluster.put(joining('moderating', ['moderator'], 'watched'));
    await cluster.put(watched('pause'));
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
    Terminal.killAll();
    for (const close of closing.reverse()) await close();
    await cluster?.remove();
    account?.remove();
  });

  const terminal = (name: string, args: string) =>
    new Terminal(`stty rows 33 cols 101; exec ${tshProgram} ${args}`, cluster.env(name));

  async function sessionsOf(name: string): Promise<SessionTracker[]> {
    const { status, stdout, stderr } = await cluster.tsh(name, ['sessions', 'ls', '--format=json']);
    assert.equal(status, 0, stderr);
    return JSON.parse(stdout);
  }

  /** A session of that person, and its id. */
  async function begin(name: string) {
    const owner = terminal(name, `ssh ${account.name}@node-1`);
    const [session] = await until('the session is listed', async () => {
      const sessions = (await cluster.sessions()).filter(({ spec }) => spec.owner === name);
      return sessions.length > 0 && sessions;
    });
    assert.ok(session);
    return { owner, sid: session.metadata.name, state: session.spec.state };
  }

  /** The moderator, without a terminal: a process that can be killed. */
  async function moderate(sid: string) {
    const args = ['join', '--mode=moderator', sid];
    const child = spawn(tshProgram, args, { stdio: 'pipe', env: cluster.env('max') });
    closing.push(() => child.kill('SIGKILL'));
    let shown = '';
    child.stdout.on('data', (bytes: Buffer) => {
      shown += bytes;
    });
    await until('the moderator is in', () => shown.includes('as moderator'));
    return { child, ended: once(child, 'close'), shown: () => shown };
  }

  /** Past tsh and what it checks: the node alone decides. */
  async function enterRaw(name: string, sid: string, mode: JoinMode): Promise<ClientSession> {
    process.env['TELEPORT_HOME'] = cluster.home(name);
    const profile = await requireProfile(undefined);
    const link = await connectNode(profile, { host: 'node-1', port: 3022 }, joinLogin);
    closing.push(() => link.close());
    const session = await link.client.openSession();
    await session.env(joinVariables.sid, sid);
    await session.env(joinVariables.mode, mode);
    assert.equal(await session.shell(), true);
    return session;
  }

  const eventsOf = async (event: string, sid: string) =>
    (await cluster.events(event)).filter((each) => each['sid'] === sid);

  const ended = (sid: string) => until('session.end', async () => (await eventsOf('session.end', sid))[0]);

  /** When a number last changed, once it has not for a while. */
  async function stillness(number: () => number): Promise<number> {
    let last = number();
    let changedAt = performance.now();
    await until('it stands still', () => {
      const now = number();
      if (now !== last) changedAt = performance.now();
      last = now;
      return performance.now() - changedAt > 400;
    });
    return changedAt;
  }

  const processes = () => {
    try {
      return execFileSync('pgrep', ['-u', account.name], { encoding: 'utf8' }).trim().split('\n');
    } catch {
      return [];
    }
  };

  test('a peer and an observer see what the owner sees; the keys of the peer count, the observer’s do not', async () => {
    const { owner, sid } = await begin('alice');
    await owner.shows(/\$ /);
    owner.type('echo first-$((40+2))\r');
    await owner.shows(/first-42/);
    const peer = terminal('pete', `join --mode=peer ${sid}`);
    await peer.shows(/You are in the session of alice .* as peer.*101 columns and 33 rows/);
    await peer.shows(/first-42/);
    const observer = terminal('olga', `join ${sid.slice(0, 8)}`);
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
    assert.deepEqual((await ended(sid))['participants'], ['alice', 'pete', 'olga']);
    const recorded = await cluster.recordedEvents(sid);
    for (const each of ['session.join', 'session.input', 'session.leave'])
      assert.ok(recorded.includes(each), `${each} is in the recording`);
    const inputs = await eventsOf('session.input', sid);
    const typed = (user: string) => inputs.filter((event) => event['user'] === user);
    assert.ok(typed('alice').length > 0 && typed('pete').length > 0, 'who typed is on record');
    assert.equal(typed('olga').length, 0);
    const bytes = typed('pete').reduce((sum, event) => sum + Number(event['bytes']), 0);
    assert.equal(bytes, 'echo from-peer-$((1+1))\r'.length);
    const order = [...(await eventsOf('session.join', sid)), ...(await eventsOf('session.leave', sid))];
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
    const { owner, sid } = await begin('alice');
    await owner.shows(/\$ /);
    const refused = await cluster.tsh('mallory', ['join', '--mode=peer', sid]);
    assert.equal(refused.status, 255);
    assert.match(refused.stderr, /no live session|may not join/i);
    const more = await cluster.tsh('olga', ['join', '--mode=peer', sid]);
    assert.match(more.stderr, /You may not join the session of alice as peer.*\n?.*observer/);
    const raw = await enterRaw('mallory', sid, 'observer');
    assert.deepEqual(await raw.exited, { code: 254 });
    const rejected = await until(
      'the refusal is audited',
      async () => (await eventsOf('session.rejected', sid))[0],
    );
    assert.equal(rejected['user'], 'mallory');
    assert.match(String(rejected['reason']), /no role allows to join as observer/);
    owner.type('exit\r');
    await owner.ended();
  });

  test('a session held for a moderator runs nothing, lets in nobody else, and pauses within a second of losing them', async (t: TestContext) => {
    const { owner, sid, state } = await begin('bob');
    assert.equal(state, 'pending');
    await owner.shows(/waits until somebody comes: 1 × moderator by "four eyes"/);
    assert.match(
      await cluster.tctl('sessions', 'ls'),
      new RegExp(`${sid} +pending +bob +${account.name}@node-1`),
    );
    assert.match(await cluster.tctl('sessions', 'ls', '--format=yaml'), /missing:\n +- .*four eyes/);
    owner.type('touch /tmp/never\r');
    for (const name of ['mallory', 'pete', 'bob']) {
      const raw = await enterRaw(name, sid, 'moderator');
      assert.deepEqual(await raw.exited, { code: 254 }, name);
    }
    assert.deepEqual(processes(), [], 'nothing runs as the account');
    const first = await moderate(sid);
    await owner.shows(/\$ /);
    const ticks = join(account.home, 'ticks');
    owner.type(`(while :; do echo x >> ${ticks}; sleep 0.01; done) & echo started-$((1+1))\r`);
    await owner.shows(/started-2/);
    await until('it ticks', () => existsSync(ticks) && readFileSync(ticks).length > 20);

    const killedAt = performance.now();
    first.child.kill('SIGKILL');
    await owner.shows(/The session is paused/);
    const toldMs = performance.now() - killedAt;
    const stoppedMs = (await stillness(() => readFileSync(ticks).length)) - killedAt;
    const last = readFileSync(ticks).length;
    t.diagnostic(
      `moderator killed: paused after ${toldMs.toFixed(0)} ms, last sign of life after ${stoppedMs.toFixed(0)} ms`,
    );
    assert.ok(toldMs < 1_000 && stoppedMs < 1_000, `${toldMs} ms, ${stoppedMs} ms`);
    const from = owner.shown.length;
    owner.type('echo typed-while-$((1+1))\r');
    assert.equal((await cluster.sessions())[0]?.spec.state, 'paused');
    assert.equal(readFileSync(ticks).length, last, 'frozen');

    const second = await moderate(sid);
    await owner.shows(/The session goes on/, from);
    owner.type('echo again-$((1+1))\r');
    await owner.shows(/again-2/, from);
    assert.doesNotMatch(owner.shown, /typed-while/, 'what was typed meanwhile went nowhere');
    // A moderator whose machine says nothing any more, as behind a network that swallows everything.
    const size = () => readFileSync(ticks).length;
    second.child.kill('SIGSTOP');
    const silentAt = performance.now();
    const silentMs = (await stillness(size)) - silentAt;
    t.diagnostic(`moderator silent: last sign of life after ${silentMs.toFixed(0)} ms`);
    assert.ok(silentMs < 1_000, `${silentMs} ms`);
    const before = size();
    second.child.kill('SIGCONT');
    await until('it ticks again', () => size() > before);
    second.child.stdin.write('t');
    await owner.shows(/The moderator max ended it/);
    assert.deepEqual(await second.ended, [0, null], second.shown());
    const end = await ended(sid);
    assert.deepEqual(end['participants'], ['bob', 'max']);
    assert.equal(end['enhanced_recording'], true);
    assert.equal(existsSync('/tmp/never'), false);
    await until('nothing runs any more', () => processes().length === 0);
  });

  test('on_leave: terminate ends the session within a second; commands without a terminal are refused', async (t: TestContext) => {
    await cluster.put(watched('terminate'));
    const command = await cluster.tsh('bob', ['ssh', `${account.name}@node-1`, 'id']);
    assert.match(command.stderr, /requires that somebody else sees/);
    const { owner, sid } = await begin('bob');
    const moderator = await moderate(sid);
    await owner.shows(/\$ /);
    const killedAt = performance.now();
    moderator.child.kill('SIGKILL');
    await owner.shows(/This session was ended: Nobody is left of those it needs/);
    await until('nothing runs any more', () => processes().length === 0);
    const ms = performance.now() - killedAt;
    t.diagnostic(`moderator killed: session ended after ${ms.toFixed(0)} ms`);
    assert.ok(ms < 1_000, `${ms} ms`);
    await ended(sid);
  });

  test('a joiner who does not read is dropped, and costs the owner nothing', async (t: TestContext) => {
    const { owner, sid } = await begin('alice');
    await owner.shows(/\$ /);
    const flood = async (word: string) => {
      const began = performance.now();
      owner.type(`head -c 8000000 /dev/zero | tr '\\0' 'x'; echo; echo ${word}-$((1+1))\r`);
      // Looked for at the end only: what was shown has megabytes.
      await until('all of it is shown', () => owner.shown.slice(-100).includes(`${word}-2`));
      return performance.now() - began;
    };
    const alone = await flood('alone');
    await enterRaw('olga', sid, 'observer'); // nobody reads its stdout
    await owner.shows(/olga joined/);
    const shared = await flood('shared');
    t.diagnostic(
      `8 MB for the owner: alone ${alone.toFixed(0)} ms, beside one who does not read ${shared.toFixed(0)} ms`,
    );
    const left = await until('it is dropped', async () => (await eventsOf('session.leave', sid))[0], 15_000);
    assert.match(String(left['reason']), /does not read/);
    assert.ok(shared < 3 * alone + 2_000, `${shared} ms`);
    owner.type('exit\r');
    await owner.ended();
  });

  test('a session goes on being shared after a reload, though another daemon serves by then', async () => {
    const { owner, sid } = await begin('alice');
    await owner.shows(/\$ /);
    const before = terminal('pete', `join --mode=peer ${sid}`);
    await owner.shows(/pete joined/);
    await cluster.reload();
    const observer = terminal('olga', `join ${sid}`);
    await owner.shows(/olga joined the session as observer/);
    before.type('echo still-$((1+1))\r');
    for (const each of [owner, before, observer]) await each.shows(/still-2/);
    const raw = await enterRaw('mallory', sid, 'observer');
    assert.deepEqual(await raw.exited, { code: 254 });
    observer.type('\x03');
    await owner.shows(/olga left the session/);
    assert.equal(await observer.ended(), 0, observer.shown);
    owner.type('exit\r');
    assert.equal(await owner.ended(), 0);
    assert.deepEqual((await ended(sid))['participants'], ['alice', 'pete', 'olga']);
  });

  test('a lock ends a participation within a second, and leaves the session alone', async (t: TestContext) => {
    const { owner, sid } = await begin('alice');
    await owner.shows(/\$ /);
    const observer = terminal('olga', `join ${sid}`);
    await owner.shows(/olga joined/);
    await cluster.tctl('lock', '--user=olga', '--message=go');
    await owner.shows(/olga left the session/);
    const [left] = await until('it is on record', async () => {
      const leaves = await eventsOf('session.leave', sid);
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
