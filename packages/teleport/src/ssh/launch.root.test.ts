import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  cannotLaunch,
  createLogin,
  eventually,
  finish,
  launcherBinary,
  request,
  type TestLogin,
  terminal,
  testCgroup,
  textOf,
} from './host.fixture.ts';
import { launch } from './launch.ts';

const skip = cannotLaunch();

/** A zombie is dead: an orphan's end is collected whenever init looks. */
function alive(pid: number): boolean {
  const stat = existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, 'utf8') : ') Z';
  return !/\) Z/.test(stat);
}

/** Lowering oom_score_adj needs CAP_SYS_RESOURCE (bit 24), which containers tend to lack. */
function cannotProtect(): string | false {
  const effective = readFileSync('/proc/self/status', 'utf8').match(/^CapEff:\s*(\S+)/m)?.[1] ?? '0';
  return (BigInt(`0x${effective}`) >> 24n) & 1n
    ? false
    : 'needs CAP_SYS_RESOURCE to protect the daemon first';
}

function cgroupOf(pid: number): string {
  const line = readFileSync(`/proc/${pid}/cgroup`, 'utf8').match(/^0::(.*)$/m);
  return line?.[1] ?? '';
}

describe('the session child', { skip }, () => {
  let user: TestLogin;
  let dir: string;
  before(() => {
    user = createLogin('l');
    dir = mkdtempSync('/tmp/sallyport-launch-');
    execFileSync('chmod', ['777', dir]);
  });
  after(() => {
    user.remove();
    rmSync(dir, { recursive: true });
  });

  test('runs nothing of the user’s before go, and has been in its cgroup from birth', async () => {
    const cgroup = await testCgroup();
    const marker = join(dir, 'before-go');
    const command = `touch ${marker}; echo $$`;
    const session = await launch(request(user.name, { command, cgroupDir: cgroup.dir, pamService: 'sshd' }));

    assert.deepEqual(await cgroup.procs(), [session.leaderPid]);
    assert.equal(readlinkSync(`/proc/${session.leaderPid}/exe`), launcherBinary);
    assert.notEqual(cgroupOf(session.supervisorPid), cgroupOf(session.leaderPid));
    await new Promise((resolve) => setTimeout(resolve, 50)); // the time it would have needed
    assert.equal(existsSync(marker), false);

    const { out, exit } = await finish(session);
    assert.deepEqual(exit, { code: 0 });
    assert.equal(out.trim(), String(session.leaderPid), 'the leader is the process that became the shell');
    assert.ok(existsSync(marker));
    await cgroup.remove();
  });

  test('has exec’d the log-in shell when go resolves', async () => {
    const session = await launch(request(user.name, { command: 'read line' }));
    await session.go();
    assert.equal(readlinkSync(`/proc/${session.leaderPid}/exe`), '/usr/bin/bash');
    await finish(session, '\n');
  });

  test('has an audit session id of its own, and the leader carries it', { skip: noAudit() }, async () => {
    const ids = new Set<number>();
    for (const pamService of ['sshd', undefined, 'sshd']) {
      const session = await launch(request(user.name, { command: 'cat /proc/self/loginuid', pamService }));
      assert.equal(
        readFileSync(`/proc/${session.leaderPid}/sessionid`, 'utf8'),
        String(session.auditSessionId),
      );
      assert.equal((await finish(session)).out, String(session.uid));
      ids.add(session.auditSessionId ?? -1);
    }
    assert.equal(ids.size, 3);
  });

  test('a daemon that was itself started from this user’s log-in does not lend its audit session', {
    skip: noAudit(),
  }, async () => {
    // What such a daemon is: a process whose loginuid is the user's already.
    const script = `
      import { launch } from ${JSON.stringify(import.meta.resolve('./launch.ts'))};
      import { readFileSync, writeFileSync } from 'node:fs';
      writeFileSync('/proc/self/loginuid', '0');
      const session = await launch(JSON.parse(process.argv[1]));
      console.log(readFileSync('/proc/self/sessionid', 'utf8'), session.auditSessionId);
      session.kill();`;
    const wanted = request('root', { command: 'true', pamService: 'sshd' });
    const args = ['--input-type=module-typescript', '-e', script, JSON.stringify(wanted)];
    const [daemons, sessions] = execFileSync(process.execPath, args).toString().trim().split(' ');
    assert.ok(Number(sessions) > 0);
    assert.notEqual(sessions, daemons);
  });

  for (const code of [0, 1, 127, 255])
    test(`exit status ${code} arrives`, async () => {
      const session = await launch(request(user.name, { command: `exit ${code}` }));
      assert.deepEqual((await finish(session)).exit, { code });
    });

  test('a death by signal arrives by its name', async () => {
    const session = await launch(request(user.name, { command: 'kill -TERM $$' }));
    assert.deepEqual((await finish(session)).exit, { signal: 'TERM', coreDumped: false });
  });

  test('a core dump is told', async () => {
    const command = `cd ${dir}; ulimit -c unlimited; kill -SEGV $$`;
    const { exit } = await finish(await launch(request(user.name, { command })));
    assert.deepEqual(exit, { signal: 'SEGV', coreDumped: true });
  });

  test('the three streams are pipes: reopening /dev/stderr works, and neither output mixes', async () => {
    const command = 'echo out > /dev/stdout; echo err > /dev/stderr; cat';
    const { out, err } = await finish(await launch(request(user.name, { command })), 'in');
    assert.deepEqual([out, err], ['out\nin', 'err\n']);
  });

  test('a megabyte both ways arrives whole', async () => {
    const text = 'x'.repeat(1 << 20);
    const { out } = await finish(await launch(request(user.name, { command: 'cat' })), text);
    assert.equal(out.length, text.length);
  });

  test('output nobody reads stops the program that writes it', async () => {
    const session = await launch(request(user.name, { command: 'yes' }));
    await session.go();
    // Blocked in write(2): no more written bytes between two looks.
    await eventually('yes stands still', () => standsStill(session.leaderPid));
    session.kill();
    assert.deepEqual(await session.exited, { signal: 'KILL', coreDumped: false });
    session.pipes?.stdout.destroy();
  });

  test('a signal of the client reaches the command’s group, an unknown name is refused', async () => {
    const command = 'trap "echo got; exit 4" USR1; echo up; while :; do sleep 0.01; done';
    const session = await launch(request(user.name, { command }));
    await session.go();
    const out = textOf(readUntil(session.pipes?.stdout, 'up', () => session.signal('USR1')));
    assert.equal(session.signal('NOSUCH'), false);
    assert.deepEqual(await session.exited, { code: 4 });
    assert.match(await out, /got/);
  });

  test('a missing home is told and the session starts at /', async () => {
    execFileSync('mv', [user.home, `${user.home}-away`]);
    try {
      const { out, err } = await finish(await launch(request(user.name, { command: 'pwd' })));
      assert.equal(out, '/\n');
      assert.equal(err, `Could not chdir to home directory ${user.home}: No such file or directory\n`);
    } finally {
      execFileSync('mv', [`${user.home}-away`, user.home]);
    }
  });

  test('a client’s variables reach the command, but not over the account’s own', async () => {
    const env = { LC_ALL: 'C', SAMPLE: 'a b=c\n"ü', HOME: '/nowhere', USER: 'other' };
    const command = 'printf "%s|" "$SAMPLE" "$HOME" "$USER" "$PATH" "$MAIL"';
    const { out } = await finish(await launch(request(user.name, { command, env })));
    const path = '/usr/local/bin:/usr/bin:/bin:/usr/games';
    assert.equal(out, `a b=c\n"ü|${user.home}|${user.name}|${path}|/var/mail/${user.name}|`);
  });

  test('the daemon’s variables do not', async () => {
    process.env['SALLYPORT_SECRET'] = 'x';
    try {
      const { out } = await finish(await launch(request('root', { command: 'env', pamService: 'sshd' })));
      assert.doesNotMatch(out, /SALLYPORT_SECRET|NODE_/);
    } finally {
      delete process.env['SALLYPORT_SECRET'];
    }
  });

  test('sudo could work: no_new_privs is not set', async () => {
    const { out } = await finish(
      await launch(request(user.name, { command: 'grep NoNewPrivs /proc/self/status' })),
    );
    assert.match(out, /\t0$/m);
  });

  test('a protection of the daemon from the OOM killer is not inherited', {
    skip: cannotProtect(),
  }, async () => {
    const script = `
      import { launch } from ${JSON.stringify(import.meta.resolve('./launch.ts'))};
      import { writeFileSync } from 'node:fs';
      writeFileSync('/proc/self/oom_score_adj', '-500');
      const session = await launch(JSON.parse(process.argv[1]));
      session.pipes.stdout.pipe(process.stdout);
      await session.go();`;
    const wanted = request(user.name, { command: 'cat /proc/self/oom_score_adj' });
    const args = ['--input-type=module-typescript', '-e', script, JSON.stringify(wanted)];
    assert.equal(execFileSync(process.execPath, args).toString(), '0\n');
  });
});

describe('the session child without its daemon', { skip }, () => {
  const daemons: ChildProcess[] = [];
  after(() => {
    for (const daemon of daemons) daemon.kill('SIGKILL');
  });

  /** A daemon that launches, says the pids, and then does as told: it can be killed. */
  async function daemonWith(wanted: object, then: string) {
    const script = `
      import { launch } from ${JSON.stringify(import.meta.resolve('./launch.ts'))};
      const { modes, ...asked } = JSON.parse(process.argv[1]);
      if (asked.pty) asked.pty.modes = Buffer.alloc(0);
      const session = await launch(asked);
      ${then}
      console.log(session.leaderPid, session.supervisorPid);
      setInterval(() => {}, 1000);`;
    const args = ['--input-type=module-typescript', '-e', script, JSON.stringify(wanted)];
    const daemon = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    daemons.push(daemon);
    const line = await new Promise<string>((resolve) =>
      daemon.stdout.once('data', (text) => resolve(String(text))),
    );
    const [leader = 0, supervisor = 0] = line.trim().split(' ').map(Number);
    return { daemon, leader, supervisor };
  }

  test('ends without exec when the daemon dies before go', async () => {
    const marker = `/tmp/sallyport-never-${process.pid}`;
    const wanted = request('root', { command: `touch ${marker}`, pamService: 'sshd' });
    const { daemon, leader, supervisor } = await daemonWith(wanted, '');
    daemon.kill('SIGKILL');
    await eventually('both are gone', () => !alive(leader) && !alive(supervisor));
    assert.equal(existsSync(marker), false);
  });

  test('ends without exec when the launcher dies before go', async () => {
    const marker = `/tmp/sallyport-never2-${process.pid}`;
    const session = await launch(request('root', { command: `touch ${marker}` }));
    process.kill(session.supervisorPid, 'SIGKILL');
    await assert.rejects(session.go(), { code: 'launch.ended_early' });
    await assert.rejects(session.exited, { code: 'launch.died' });
    await eventually('the leader is gone', () => !alive(session.leaderPid));
    assert.equal(existsSync(marker), false);
  });

  test('without a terminal, a daemon’s death is told to the command by SIGHUP', async () => {
    const marker = `/tmp/sallyport-pipe-${process.pid}`;
    // Bash would say "Hangup" into the closed pipe and die of that before its trap.
    const command = `exec 2>/dev/null; trap 'echo hup > ${marker}; exit' HUP; > ${marker}; while :; do sleep 0.01; done`;
    const { daemon, leader, supervisor } = await daemonWith(
      request('root', { command }),
      'await session.go();',
    );
    await eventually('the trap is set', () => existsSync(marker));
    daemon.kill('SIGKILL');
    await eventually('leader and launcher are gone', () => !alive(leader) && !alive(supervisor));
    assert.equal(readFileSync(marker, 'utf8'), 'hup\n');
    rmSync(marker);
  });

  test('on a terminal, a daemon’s death hangs up: the shell gets SIGHUP, what ignores it lives on', async () => {
    const marker = `/tmp/sallyport-hup-${process.pid}`;
    const command = `trap 'echo hup > ${marker}; exit' HUP; (trap '' HUP; echo $BASHPID > ${marker}.bg; exec sleep 300) & while :; do sleep 0.01; done`;
    const wanted = request('root', { command, pty: terminal() });
    const { daemon, leader, supervisor } = await daemonWith(
      wanted,
      'session.terminal.output.resume(); await session.go();',
    );
    const background = Number(
      await eventually(
        'it runs',
        () => existsSync(`${marker}.bg`) && readFileSync(`${marker}.bg`, 'utf8').trim(),
      ),
    );
    daemon.kill('SIGKILL');
    await eventually('leader and launcher are gone', () => !alive(leader) && !alive(supervisor));
    assert.equal(readFileSync(marker, 'utf8'), 'hup\n');
    assert.ok(alive(background));
    process.kill(background);
    for (const file of [marker, `${marker}.bg`]) rmSync(file);
  });
});

describe('many session children', { skip }, () => {
  test('a hundred leave no descriptor, zombie or cgroup behind', async () => {
    await oneOfEach();
    const before = readdirSync('/proc/self/fd').length;
    for (let i = 0; i < 50; i++) await oneOfEach();
    await eventually('descriptors are back', () => readdirSync('/proc/self/fd').length <= before);
    assert.deepEqual(childrenOf(process.pid), []);
  });

  async function oneOfEach(): Promise<void> {
    const cgroup = await testCgroup();
    await finish(await launch(request('root', { command: ':', cgroupDir: cgroup.dir })));
    const session = await launch(request('root', { command: ':', cgroupDir: cgroup.dir, pty: terminal() }));
    const output = session.terminal?.output;
    await session.go();
    if (output) await textOf(output);
    await session.closed;
    await cgroup.remove();
    assert.equal(existsSync(cgroup.dir), false);
  }

  test('the exit status arrives whatever is being said to the launcher meanwhile', async () => {
    for (let i = 0; i < 60; i++) {
      const session = await launch(request('root', { command: 'exit 3', pty: terminal() }));
      session.terminal?.output.resume();
      void session.go();
      const chatter = setInterval(() => session.resize({ cols: 80, rows: 24, xpixel: 0, ypixel: 0 }), 0);
      assert.deepEqual(await session.exited, { code: 3 });
      await session.closed;
      clearInterval(chatter);
    }
  });

  for (const pamService of [undefined, 'sshd'])
    test(`ready and exec each come in milliseconds, ${pamService ? 'with' : 'without'} PAM`, async (t) => {
      const ready: number[] = [];
      const running: number[] = [];
      for (let i = 0; i < 30; i++) {
        const cgroup = await testCgroup();
        const start = performance.now();
        const session = await launch(request('root', { command: ':', cgroupDir: cgroup.dir, pamService }));
        ready.push(performance.now() - start);
        const released = performance.now();
        await session.go();
        running.push(performance.now() - released);
        await finish(session);
        await cgroup.remove();
      }
      const median = (times: number[]): number => times.sort((a, b) => a - b)[times.length >> 1] ?? 0;
      t.diagnostic(
        `ready ${median(ready).toFixed(1)} ms, go to exec ${median(running).toFixed(1)} ms (median of 30)`,
      );
      assert.ok(median(ready) < 1000, 'far above what it takes on a busy machine');
    });
});

function childrenOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
}

function noAudit(): string | false {
  return existsSync('/proc/self/loginuid') ? false : 'this kernel has no audit';
}

let lastSeen = -1;
function standsStill(pid: number): boolean {
  const written = Number(readFileSync(`/proc/${pid}/io`, 'utf8').match(/^wchar: (\d+)/m)?.[1] ?? 0);
  const same = written === lastSeen && written > 0;
  lastSeen = written;
  return same;
}

/** Passes chunks on; calls back once the word has been seen. */
async function* readUntil(stream: AsyncIterable<Buffer> | undefined, word: string, then: () => void) {
  let seen = '';
  for await (const chunk of stream ?? []) {
    if (!seen.includes(word) && (seen + chunk).includes(word)) then();
    seen += chunk;
    yield chunk;
  }
}
