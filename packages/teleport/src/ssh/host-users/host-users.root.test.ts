import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { cannotLaunch, createLogin, eventually } from '../host.fixture.ts';
import type { WantedHostUser } from './host-user.ts';
import { type HostUserEvent, HostUsers } from './host-users.ts';

const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const noSudo = existsSync('/etc/sudoers.d') ? false : 'this host has no sudo';

describe('accounts made for visitors', { skip: cannotLaunch() }, () => {
  const dirs: string[] = [];
  const opened: HostUsers[] = [];
  const name = `sph${process.pid}`;
  const group = `${name}g`;
  const marksBefore = ['teleport-keep', 'teleport-system', 'teleport-static'].filter((mark) =>
    exists('group', mark),
  );
  let inUse = new Set<string>();
  let events: HostUserEvent[] = [];

  const wants = (more: Partial<WantedHostUser> = {}): WantedHostUser => ({
    ...{ mode: 'insecure-drop', groups: [], sudoers: [], shell: undefined },
    ...more,
  });
  function agent(dataDir = mkdtempSync('/tmp/sallyport-hu-')): HostUsers & { dir: string } {
    if (!dirs.includes(dataDir)) dirs.push(dataDir);
    const users = new HostUsers({
      ...{ dataDir, hostUuid: `test-${dirs.indexOf(dataDir)}-${process.pid}`, log },
      inUse: async () => inUse,
      audit: (event) => void events.push(event),
    });
    opened.push(users);
    return Object.assign(users, { dir: dataDir });
  }
  const sudoersFiles = () =>
    existsSync('/etc/sudoers.d')
      ? readdirSync('/etc/sudoers.d').filter((file) => file.includes(String(process.pid)))
      : [];
  const groupsOf = (login: string) => execFileSync('id', ['-nG', login]).toString().trim().split(' ').sort();
  const codes = () => events.splice(0).map(({ code }) => code);

  before(() => {
    inUse = new Set();
  });
  afterEach(async () => {
    inUse = new Set();
    for (const users of opened.splice(0)) {
      await users.tidy();
      await users.close();
    }
    spawnSync('userdel', ['--remove', name]);
    spawnSync('groupdel', [group]);
    for (const file of sudoersFiles()) rmSync(join('/etc/sudoers.d', file));
    events = [];
  });
  after(() => {
    for (const dir of dirs) rmSync(dir, { recursive: true });
    for (const mark of ['teleport-keep', 'teleport-system', 'teleport-static'])
      if (!marksBefore.includes(mark)) spawnSync('groupdel', [mark]);
  });

  test('one is made with its groups, home and shell, and deleted when its last session is over', async () => {
    const users = agent();
    inUse.add(name);
    await users.obtain(name, wants({ groups: [group], shell: '/bin/dash' }), 'alice');
    assert.deepEqual(groupsOf(name), [name, group, 'teleport-system'].sort());
    assert.match(execFileSync('getent', ['passwd', name]).toString(), /:\/home\/sph\d+:\/bin\/dash$/m);
    assert.ok(existsSync(`/home/${name}`));
    await users.tidy();
    assert.ok(exists('passwd', name), 'it has a session');
    inUse.delete(name);
    await users.tidy();
    assert.equal(exists('passwd', name), false);
    assert.equal(existsSync(`/home/${name}`), false);
    assert.deepEqual(codes(), ['THU00I', 'THU01I']);
  });

  test('with keep it stays, and gets the groups of its next session', async () => {
    const users = agent();
    await users.obtain(name, wants({ mode: 'keep', groups: [group] }), 'alice');
    await users.tidy();
    assert.deepEqual(groupsOf(name), [name, group, 'teleport-keep'].sort());
    await users.obtain(name, wants({ mode: 'insecure-drop' }), 'alice');
    assert.deepEqual(groupsOf(name), [name, 'teleport-keep'].sort());
    await users.tidy();
    assert.ok(exists('passwd', name));
    assert.deepEqual(codes(), ['THU00I', 'THU02I']);
  });

  test('sudoers hold while there is a session, and only such as sudo understands', {
    skip: noSudo,
  }, async () => {
    const users = agent();
    inUse.add(name);
    await users.obtain(name, wants({ mode: 'keep', sudoers: ['ALL=(ALL) NOPASSWD: /bin/true'] }), 'alice');
    const [file = ''] = sudoersFiles();
    assert.equal(statSync(`/etc/sudoers.d/${file}`).mode & 0o777, 0o440);
    assert.match(readFileSync(`/etc/sudoers.d/${file}`, 'utf8'), new RegExp(`^${name} ALL=.*true$`, 'm'));
    execFileSync('visudo', ['-c', '-q']);
    execFileSync('su', [name, '-s', '/bin/sh', '-c', 'sudo -n /bin/true']);
    await assert.rejects(users.obtain(name, wants({ sudoers: ['ALL=(ALL NOPASSWD'] }), 'alice'), {
      code: 'host_user.sudoers',
    });
    execFileSync('visudo', ['-c', '-q']);
    inUse.delete(name);
    await users.tidy();
    assert.deepEqual(sudoersFiles(), []);
    assert.ok(exists('passwd', name));
    assert.deepEqual(codes(), ['THU00I', 'THU00E']);
  });

  test('an account that was there is not touched', async () => {
    const there = createLogin('h');
    try {
      const before = [groupsOf(there.name), execFileSync('getent', ['shadow', there.name]).toString()];
      const users = agent();
      await users.obtain(there.name, wants({ groups: [group], sudoers: ['ALL=(ALL) ALL'] }), 'alice');
      await users.obtain('root', wants({ groups: [group] }), 'alice');
      await users.tidy();
      const now = [groupsOf(there.name), execFileSync('getent', ['shadow', there.name]).toString()];
      assert.deepEqual(now, before);
      assert.deepEqual([sudoersFiles(), codes()], [[], []]);
    } finally {
      there.remove();
    }
  });

  test('one whose mark an administrator took away is not deleted', async () => {
    const users = agent();
    await users.obtain(name, wants(), 'alice');
    execFileSync('usermod', ['--groups', '', name]);
    await users.tidy();
    assert.ok(exists('passwd', name));
  });

  test('what a killed daemon left is deleted at the next start, another agent’s is not', async () => {
    const dead = agent();
    await dead.obtain(name, wants(), 'alice');
    const other = agent();
    await other.obtain(name, wants(), 'bob'); // logs in to it, too
    await other.tidy();
    assert.ok(exists('passwd', name), 'not the other agent’s');
    const next = agent(dead.dir);
    await next.tidy();
    assert.equal(exists('passwd', name), false);
  });

  test('two daemons of one agent keep one book', async () => {
    const retiring = agent();
    await retiring.obtain(name, wants(), 'alice');
    const heir = agent(retiring.dir);
    const second = `${name}h`;
    try {
      inUse.add(name);
      await heir.obtain(second, wants(), 'bob');
      inUse = new Set([second]);
      await retiring.tidy();
      assert.equal(exists('passwd', name), false);
      inUse = new Set();
      await agent(retiring.dir).tidy();
      assert.equal(exists('passwd', second), false, 'who comes after both knows of it');
    } finally {
      spawnSync('userdel', ['--remove', second]);
    }
  });

  test('while a process of it runs it stays, which is told once', async () => {
    const users = agent();
    await users.obtain(name, wants(), 'alice');
    const child = spawn('setpriv', ['--reuid', name, '--clear-groups', '--regid', name, 'sleep', '100']);
    await eventually('it runs', () => spawnSync('pgrep', ['-u', name]).status === 0);
    await users.tidy();
    await users.tidy();
    assert.ok(exists('passwd', name));
    assert.deepEqual(codes(), ['THU00I', 'THU01E']);
    const gone = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGKILL');
    await gone;
    await users.tidy();
    assert.equal(exists('passwd', name), false);
    assert.deepEqual(codes(), ['THU01I']);
  });

  test('a static one is made, kept as wanted, and stays when it is wanted no more', async () => {
    const wanted = {
      login: name,
      groups: [group],
      shell: '/bin/sh',
      uid: 47_311,
      gid: 47_312,
      takesOver: false,
    };
    const users = agent();
    const apply = (more: object = {}) => users.applyStatic([{ ...wanted, sudoers: [], ...more }]);
    await apply();
    assert.match(execFileSync('getent', ['passwd', name]).toString(), /:47311:47312:.*:\/bin\/sh$/m);
    assert.deepEqual(groupsOf(name), [name, group, 'teleport-static'].sort());
    await apply();
    assert.deepEqual(codes(), ['THU00I'], 'what is as wanted is not told again');
    await users.tidy();
    await users.obtain(name, wants({ sudoers: ['ALL=(ALL) ALL'] }), 'alice');
    assert.deepEqual(codes(), [], 'sessions do not change it');
    await apply({ groups: [], sudoers: ['ALL=(ALL) NOPASSWD: /bin/true'] });
    assert.deepEqual(groupsOf(name), [name, 'teleport-static'].sort());
    assert.equal(sudoersFiles().length, noSudo ? 0 : 1);
    const next = agent(users.dir);
    await next.applyStatic([]);
    assert.deepEqual(sudoersFiles(), []);
    assert.ok(exists('passwd', name));
    assert.deepEqual(codes(), ['THU02I', 'THU02I']);
  });

  test('a static one does not take over an account of the host, unless it says so', async () => {
    const there = createLogin('s');
    try {
      const users = agent();
      const wanted = {
        login: there.name,
        groups: [group],
        sudoers: [],
        shell: undefined,
        uid: undefined,
        gid: undefined,
      };
      for (let i = 0; i < 2; i++) await users.applyStatic([{ ...wanted, takesOver: false }]);
      assert.deepEqual(codes(), ['THU00E']);
      assert.ok(!groupsOf(there.name).includes(group));
      await users.applyStatic([{ ...wanted, takesOver: true }]);
      assert.ok(groupsOf(there.name).includes(group));
      assert.deepEqual(codes(), ['THU02I']);
      await users.applyStatic([]);
    } finally {
      there.remove();
    }
  });

  test('names that would be something else to the host’s programs are refused', async () => {
    const users = agent();
    for (const login of ['-r', 'a b', 'a:b', 'A', '..', 'x'.repeat(33)])
      await assert.rejects(users.obtain(login, wants(), 'alice'), { code: 'host_user.name' });
    for (const bad of ['-g', 'a,root', '', 'x y'])
      await assert.rejects(users.obtain(name, wants({ groups: [bad] }), 'alice'), {
        code: 'host_user.group',
      });
    assert.equal(exists('passwd', name), false);
  });
});

function exists(database: 'passwd' | 'group', key: string): boolean {
  return spawnSync('getent', [database, key]).status === 0;
}
