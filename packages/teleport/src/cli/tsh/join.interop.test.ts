// `tsh join` as people use it: an owner and those who join, each on a terminal of their own, against a real node.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { SessionTracker } from '@sallyport/contracts/api/session-trackers.ts';
import { Account, skip, TestCluster, tshProgram, until } from './cluster.fixture.ts';
import { Terminal } from './terminal.fixture.ts';

describe('tsh join', { skip, timeout: 240_000 }, () => {
  let account: Account;
  let cluster: TestCluster;

  before(async () => {
    account = new Account('join');
    cluster = await TestCluster.start({ secondFactor: 'off' });
    const joins = (name: string, modes: string[]) => ({
      kind: 'role' as const,
      metadata: { name },
      spec: {
        allow: {
          join_sessions: [{ name, roles: ['access'], kinds: ['ssh' as const], modes: modes as ['peer'] }],
        },
      },
    });
    await cluster.put(joins('helper', ['peer', 'observer']));
    await cluster.put(joins('watcher', ['observer']));
    for (const [name, roles] of [
      ['alice', 'access'],
      ['pete', 'helper'],
      ['olga', 'watcher'],
      ['mallory', 'access'],
    ] as const) {
      await cluster.person(name, { logins: account.name, roles });
      await cluster.makeHome(name);
      const { status, stderr } = await cluster.logIn(name);
      assert.equal(status, 0, stderr);
    }
  });
  after(async () => {
    Terminal.killAll();
    await cluster?.remove();
    account?.remove();
  });

  const terminal = (name: string, args: string) =>
    new Terminal(`stty rows 33 cols 101; exec ${tshProgram} ${args}`, cluster.env(name));

  const sessionsOf = async (name: string): Promise<SessionTracker[]> => {
    const { status, stdout, stderr } = await cluster.tsh(name, ['sessions', 'ls', '--format=json']);
    assert.equal(status, 0, stderr);
    return JSON.parse(stdout);
  };

  async function ownerAndSid() {
    const owner = terminal('alice', `ssh ${account.name}@node-1`);
    await owner.shows(/\$ /);
    owner.type('PS1="ready> "; echo first-$((40+2))\r');
    await owner.shows(/first-42/);
    const [session] = await until('the session is listed', async () => {
      const sessions = await sessionsOf('alice');
      return sessions.length > 0 && sessions;
    });
    assert.ok(session);
    return { owner, sid: session.metadata.name };
  }

  test('a peer and an observer see what the owner sees; the keys of the peer count, the observer’s do not', async () => {
    const { owner, sid } = await ownerAndSid();
    const peer = terminal('pete', `join --mode=peer ${sid}`);
    await peer.shows(/You are in the session of alice .* as peer/);
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
    observer.type('\x03');
    assert.equal(await observer.ended(), 0, observer.shown);
    await owner.shows(/olga left the session/);
    owner.type('exit\r');
    assert.equal(await owner.ended(), 0);
    assert.equal(await peer.ended(), 0, peer.shown);
    const [end] = await until('session.end', async () => {
      const ends = (await cluster.events('session.end')).filter((event) => event['sid'] === sid);
      return ends.length > 0 && ends;
    });
    assert.deepEqual(end?.['participants'], ['alice', 'pete', 'olga']);
  });
});
