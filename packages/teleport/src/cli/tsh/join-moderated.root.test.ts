// What holds a moderated session, tried by those who would like it otherwise: lines that fall silent, certificates that
// end, moderators who are locked, work that slips away, a node that records nothing, a daemon that is killed.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { isAlive } from '../teleport/until.fixture.ts';
import { Account, rootPath, skip, TestCluster, until } from './cluster.fixture.ts';
import { cgroupsOf, joining, SilentLine, Stage, Ticks, watched } from './moderation.fixture.ts';

const cgroups = join('/sys/fs/cgroup/unified', rootPath);

describe('a moderated session', { skip, timeout: 240_000 }, () => {
  let account: Account;
  let cluster: TestCluster;
  let stage: Stage;

  before(async () => {
    account = new Account('moderated');
    cluster = await TestCluster.start({ secondFactor: 'off', enhanced: true });
    stage = new Stage(cluster, account);
    await cluster.put(joining('moderating', ['moderator'], 'watched'));
    await cluster.put(watched({ onLeave: 'pause' }));
    const comes = async ([name, roles]: [string, string]) => {
      await cluster.person(name, { logins: account.name, roles });
      await cluster.makeHome(name);
      const { status, stderr } = await cluster.logIn(name);
      assert.equal(status, 0, stderr);
    };
    const people = { bob: 'watched', max: 'moderating', mona: 'moderating' };
    await Promise.all([cluster.addNode('node-2', { tunnel: true }), ...Object.entries(people).map(comes)]);
  });
  after(async () => {
    await stage?.close();
    await cluster?.remove();
    account?.remove();
  });

  const names = async (sid: string) =>
    (
      await Promise.all(
        ['session.presence', 'session.pause', 'session.resume', 'session.leave'].map((name) =>
          stage.eventsOf(name, sid),
        ),
      )
    )
      .flat()
      .sort((a, b) => Number(a['ei']) - Number(b['ei']))
      .map((event) =>
        [event['event'], event['state'] ?? event['cause'] ?? event['reason']].filter(Boolean).join(' '),
      );

  test('stands still while its moderator’s line is silent, goes on when it speaks in time, and ends at the limit', async (t: TestContext) => {
    await cluster.put(watched({ onLeave: 'terminate', silenceLimit: '2s' }));
    const { owner, sid } = await stage.begin('bob');
    const line = await SilentLine.to(Number(cluster.proxy.split(':')[1]));
    stage.keep(() => line.close());
    await stage.enterRaw('max', sid, 'moderator', { web_proxy_addr: `localhost:${line.port}` });
    await owner.shows(/\$ /);
    const ticks = new Ticks(account, 'line');
    const detached = new Ticks(account, 'detached');
    owner.type(`${ticks.command()} ${detached.command('setsid nohup')}\r`);
    await Promise.all([ticks.moves(), detached.moves()]);

    line.fallSilent();
    let silentAt = performance.now();
    await owner.shows(/The session stands still: those it needs say nothing. After 2 s of silence it ends/);
    const stillMs = Math.max(await ticks.stops(), await detached.stops()) - silentAt;
    line.speak();
    await owner.shows(/The session goes on/);
    await Promise.all([ticks.moves(), detached.moves()]);
    assert.ok(stillMs < 1_000, `${stillMs} ms`);

    line.fallSilent();
    silentAt = performance.now();
    await owner.shows(/This session was ended: Nobody is left of those it needs/);
    await stage.nothingRuns();
    const endMs = performance.now() - silentAt;
    t.diagnostic(
      `line silent: still after ${stillMs.toFixed(0)} ms; ended after ${endMs.toFixed(0)} ms, limit 2 s`,
    );
    await stage.ended(sid);
    // By the node's own clock: from the moment it noticed, 0.5 s into the silence.
    const at = async (event: string) => Date.parse(String((await stage.eventsOf(event, sid))[0]?.['time']));
    const [noticed] = (await stage.eventsOf('session.presence', sid)).slice(-1);
    const limitMs = (await at('session.leave')) - Date.parse(String(noticed?.['time']));
    assert.ok(limitMs > 1_300 && limitMs < 2_000, `${limitMs} ms`);
    assert.deepEqual(await names(sid), [
      'session.presence silent',
      'session.pause silent',
      'session.presence returned',
      'session.resume',
      'session.presence silent',
      'session.pause silent',
      'session.leave does not answer any more',
      'session.leave',
    ]);
  });

  test('needs as many as its role says; one who leaves, or who is locked while it stands still, is missed', async (t: TestContext) => {
    await cluster.put(watched({ onLeave: 'pause', count: 2 }));
    const { owner, sid } = await stage.begin('bob');
    const max = await stage.moderate(sid);
    assert.equal((await stage.session(sid))?.state, 'pending');
    assert.deepEqual(stage.processes(), [], 'one is not enough');
    const mona = await stage.moderateHere(sid, 'mona');
    await owner.shows(/\$ /);
    const ticks = new Ticks(account, 'two');
    owner.type(`${ticks.command()}\r`);
    await ticks.moves();

    const leftAt = performance.now();
    mona.type('\x03');
    await owner.shows(/mona left the session/);
    const stillMs = (await ticks.stops()) - leftAt;
    t.diagnostic(`one of two left: last sign of life after ${stillMs.toFixed(0)} ms`);
    assert.ok(stillMs < 1_000, `${stillMs} ms`);
    const from = owner.shown.length;
    await stage.moderateHere(sid, 'mona');
    await owner.shows(/The session goes on/, from);
    await ticks.moves();

    max.child.kill('SIGSTOP');
    await owner.shows(/The session stands still/, from);
    await cluster.tctl('lock', '--user=max', '--message=stolen', '--ttl=60s');
    await owner.shows(/max left the session: .*lock/i, from);
    await owner.shows(/The session is paused until somebody comes/, from);
    max.child.kill('SIGCONT');
    assert.deepEqual((await max.ended)[1], null);
    const again = await cluster.tsh('max', ['join', '--mode=moderator', sid]);
    assert.equal(again.status, 255, again.stdout);
    const size = ticks.size;
    owner.type('echo typed-$((1+1))\r');
    assert.equal((await stage.session(sid))?.state, 'paused');
    assert.equal(ticks.size, size, 'nothing ran meanwhile');
    assert.doesNotMatch(owner.shown, /typed-2/);
    for (const { name } of (await locks()).filter(({ user }) => user === 'max'))
      await cluster.tctl('rm', `lock/${name}`);
    await until('max may come again', async () => {
      const moderator = await stage.moderateHere(sid).catch(() => undefined);
      return moderator !== undefined;
    });
    await ticks.moves();
    owner.type('exit\r');
    assert.equal(await owner.ended(), 0);
    await stage.nothingRuns();
    assert.deepEqual((await stage.ended(sid))['participants'], ['bob', 'max', 'mona']);
  });

  test('is left by a moderator whose certificate ends, at that moment', async (t: TestContext) => {
    await cluster.put(watched({ onLeave: 'pause' }));
    const { owner, sid } = await stage.begin('bob');
    const endsAt = Math.floor(Date.now() / 1000 + 3) * 1000;
    await cluster.certifyFor('max', endsAt - Date.now());
    await stage.enterRaw('max', sid, 'moderator');
    await owner.shows(/\$ /);
    await owner.shows(/max left the session: the certificate has expired/);
    await owner.shows(/The session is paused/);
    const ms = Date.now() - endsAt;
    t.diagnostic(`out and paused ${ms} ms after the end of the certificate`);
    assert.ok(ms > -1_000 && ms < 1_000, `${ms} ms`);
    await cluster.certifyFor('max', 3_600_000);
    const max = await stage.moderateHere(sid);
    await owner.shows(/The session goes on/);
    max.type('t');
    await owner.shows(/The moderator max ended it/);
    await stage.ended(sid);
  });

  test('has one connection do nothing else beside it, and holds each further session anew', async () => {
    const { client } = await stage.link('bob', account.name);
    const open = async (
      how: (session: Awaited<ReturnType<typeof client.openSession>>) => Promise<boolean>,
    ) => {
      const session = await client.openSession();
      assert.equal(await how(session), true, 'answered; how it went is told on the channel');
      return session;
    };
    const pty = { term: 'xterm', cols: 80, rows: 24, xpixel: 0, ypixel: 0, modes: Buffer.of(0) };
    const shell = () => open(async (session) => (await session.pty(pty)) && (await session.shell()));
    const first = await shell();
    const bobs = async () => (await cluster.sessions()).filter(({ spec }) => spec.owner === 'bob');
    const [held] = await until('it is held', async () => (await bobs()).length === 1 && bobs());
    const max = await stage.moderateHere(held?.metadata.name ?? '');
    for (const refused of [
      await open((session) => session.exec('id')),
      await open((session) => session.subsystem('sftp')),
      await open((session) => session.exec('scp -t /tmp')),
    ])
      assert.deepEqual(await refused.exited, { code: 254 });
    const second = await shell();
    await until('the second is held', async () =>
      (await bobs()).some(({ spec }) => spec.state === 'pending'),
    );
    await assert.rejects(client.directTcpip({ host: '127.0.0.1', port: 1 }), { kind: 'denied' });
    await assert.rejects(client.directStreamlocal('/run/x'), { kind: 'denied' });
    await assert.rejects(client.remoteForward({ host: '127.0.0.1', port: 0 }, () => {}));
    assert.equal(await (await client.openSession()).forwardAgent(), false);
    await until('the agent’s refusal is audited', async () =>
      (await cluster.events('agent-forward')).some(({ code }) => code === 'T3013W'),
    );
    max.type('t');
    await first.exited;
    const states = async () => (await bobs()).map(({ spec }) => spec.state).join();
    await until('the second waits on', async () => (await states()) === 'pending');
    await second.close();
    await until('nothing of it is left', async () => (await bobs()).length === 0);
  });

  test('stands still on a node behind a tunnel that records nothing, with what slipped out of its cgroup', async (t: TestContext) => {
    await cluster.put(watched({ onLeave: 'pause' }));
    const { owner, sid } = await stage.begin('bob', 'node-2');
    const max = await stage.moderate(sid);
    await owner.shows(/\$ /);
    const ticks = new Ticks(account, 'tunnel');
    const astray = new Ticks(account, 'astray');
    owner.type(`${ticks.command('setsid nohup')} ${astray.command()} echo astray-$!\r`);
    const pid = Number((await owner.shows(/astray-(\d+)/))[1]);
    await Promise.all([ticks.moves(), astray.moves()]);
    const elsewhere = join(cgroups, 'elsewhere');
    mkdirSync(elsewhere);
    stage.keep(() => rmdirSync(elsewhere));
    // As a manager does that a user asks for another scope.
    writeFileSync(join(elsewhere, 'cgroup.procs'), String(pid));
    assert.match(readFileSync(`/proc/${pid}/cgroup`, 'utf8'), /elsewhere/);
    await astray.moves();

    const killedAt = performance.now();
    max.child.kill('SIGKILL');
    await owner.shows(/The session is paused/);
    const stillMs = Math.max(await ticks.stops(), await astray.stops()) - killedAt;
    t.diagnostic(`moderator killed, nothing recorded: last sign of life after ${stillMs.toFixed(0)} ms`);
    assert.ok(stillMs < 1_000, `${stillMs} ms`);
    const again = await stage.moderateHere(sid, 'max', 'node-2');
    await Promise.all([ticks.moves(), astray.moves()]);
    again.type('t');
    await owner.shows(/The moderator max ended it/);
    await stage.nothingRuns();
    const end = await stage.ended(sid);
    assert.equal(end['enhanced_recording'], false);
    await until('no cgroup is left', () => cgroupsOf(cgroups).length === 0);
  });

  test('ends with the daemon that is killed, at the latest at the next start, and is on record then', async (t: TestContext) => {
    const paused = await stage.begin('bob');
    const max = await stage.moderateHere(paused.sid);
    const running = await stage.begin('bob');
    await stage.moderateHere(running.sid, 'mona');
    const frozen = new Ticks(account, 'frozen');
    const free = new Ticks(account, 'free');
    for (const [{ owner }, ticks] of [
      [paused, frozen],
      [running, free],
    ] as const) {
      await owner.shows(/\$ /);
      owner.type(`${ticks.command('setsid nohup')}\r`);
      await ticks.moves();
    }
    max.cut();
    await paused.owner.shows(/The session is paused/);
    await frozen.stops();
    // One whose dead man cannot act waits, frozen, for the next start.
    const deadMan = Number(
      execFileSync('pgrep', ['--full', `sallyport-dead-man .*${paused.sid}`], { encoding: 'utf8' }),
    );
    process.kill(deadMan, 'SIGSTOP');
    stage.keep(() => isAlive(deadMan) && process.kill(deadMan, 'SIGCONT'));
    const size = frozen.size;
    const killedAt = performance.now();
    await cluster.killDaemon();
    const states = () => stage.processes().map((pid) => readFileSync(`/proc/${pid}/cgroup`, 'utf8'));
    await until(
      'nothing of the other runs any more',
      () => !states().some((path) => path.includes(running.sid)),
    );
    const ms = performance.now() - killedAt;
    t.diagnostic(`daemon killed: nothing left of its moderated session after ${ms.toFixed(0)} ms`);
    assert.ok(ms < 1_000, `${ms} ms`);
    assert.ok(states().some((path) => path.includes(paused.sid)));
    await cluster.startAgain();
    await stage.nothingRuns();
    assert.equal(frozen.size, size, 'it never ran again');
    for (const { sid } of [paused, running]) {
      const end = await stage.ended(sid);
      assert.equal(end['interrupted'], true);
      assert.equal(end['enhanced_recording'], true);
    }
    assert.deepEqual(
      (await stage.eventsOf('session.pause', paused.sid)).map((event) => event['cause']),
      ['left'],
    );
    await until('no cgroup is left', () => cgroupsOf(cgroups).length === 0);
  });

  async function locks(): Promise<{ name: string; user: string | undefined }[]> {
    const text = await cluster.tctl('get', 'locks', '--format=json');
    const found = JSON.parse(text) as { metadata: { name: string }; spec: { target: { user?: string } } }[];
    return found.map(({ metadata, spec }) => ({ name: metadata.name, user: spec.target.user }));
  }
});
