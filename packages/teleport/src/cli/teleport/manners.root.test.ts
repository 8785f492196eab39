// The host's word at a node: what PAM, the account and its shell have against somebody is told and in the log.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chownSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { cannotLaunch, createLogin, type TestLogin } from '../../ssh/host.fixture.ts';
import { PamService } from '../../ssh/pam-service.fixture.ts';
import { OneNode, until } from './one-node.fixture.ts';

describe('a node lets the host have its say', { skip: cannotLaunch() }, () => {
  let pam: PamService;
  let user: TestLogin;
  let node: OneNode;
  const permits = ['account required pam_permit.so', 'session required pam_permit.so'];
  before(async () => {
    pam = new PamService();
    user = createLogin('p');
    pam.file('phase', 'one\n');
    node = await OneNode.start({
      logins: [user.name],
      sshYaml: `  permit_user_env: true
  labels: { team: red, phase: static }
  commands:
    - { name: phase, command: [cat, ${pam.dir}/phase], period: 1s }
  pam: { enabled: true, service_name: ${pam.name}, environment: { TEAM: "{{external.logins}}", NONE: "{{external.none}}" } }`,
    });
  });
  after(async () => {
    await node?.remove();
    user.remove();
    pam.remove();
  });

  /** Once there are so many. */
  const rejections = (count: number) =>
    until('the rejections are in the log', async () => {
      const events = (await node.events()).filter(({ event }) => event === 'session.rejected');
      if (events.length < count) return undefined;
      return events.map(({ code, user: name, login, reason }) => ({ code, user: name, login, reason }));
    });

  test('PAM’s denial is told with its words, and audited', async () => {
    pam.set('account optional pam_echo.so come back at noon', 'account required pam_deny.so');
    for (const tty of [true, false]) {
      const { status, stderr, stdout } = await node.ssh(tty ? undefined : 'true', { login: user.name, tty });
      assert.equal(status, 254);
      assert.match(stdout + stderr, /come back at noon/);
    }
    const [rejected] = await rejections(2);
    assert.deepEqual(
      { ...rejected, reason: '' },
      { code: 'T1006W', user: 'alice', login: user.name, reason: '' },
    );
    assert.match(String(rejected?.reason), /PAM refused the account: .*come back at noon/s);
    assert.deepEqual(
      (await node.events()).filter(({ event }) => event === 'session.start'),
      [],
    );
  });

  test('a shell that is not there is told by exit status 1, and audited', async () => {
    pam.set(...permits);
    execFileSync('usermod', ['--shell', '/no/such/shell', user.name], { stdio: 'ignore' });
    const { status, stderr } = await node.ssh('true', { login: user.name });
    execFileSync('usermod', ['--shell', '/bin/bash', user.name]);
    assert.equal(status, 1);
    assert.match(stderr, /\/no\/such\/shell .*No such file or directory/);
    assert.match(String((await rejections(3)).at(-1)?.reason), /\/no\/such\/shell/);
  });

  test('PAM’s variables and the account’s own reach the session; the shell is its first record all the same', async () => {
    pam.set(...permits, 'session optional pam_motd.so motd=/etc/motd', 'session optional NOTE');
    mkdirSync(`${user.home}/.ssh`, { recursive: true });
    writeFileSync(`${user.home}/.ssh/environment`, 'FAVOURITE=tea\nnonsense\n');
    const ids = readFileSync('/etc/passwd', 'utf8').match(new RegExp(`^${user.name}:x:(\\d+):(\\d+)`, 'm'));
    chownSync(`${user.home}/.ssh`, Number(ids?.[1]), Number(ids?.[2]));
    const words =
      'echo "<$TELEPORT_USERNAME|$TELEPORT_LOGIN|$TELEPORT_ROLES|$TEAM|$NONE|$FAVOURITE>"\nexit\n';
    const { ran, events } = await node.session(undefined, { login: user.name, tty: true, input: words });
    assert.ok(ran.stdout.includes(`<alice|${user.name}|tested|root,${user.name}||tea>`), ran.stdout);
    assert.match(ran.stdout, /Bad line 2 in .*\.ssh\/environment/);
    const [first] = events.filter(
      ({ event }) => event.startsWith('session.') && event !== 'session.start' && event !== 'session.leave',
    );
    assert.equal(first?.event, 'session.command');
    assert.equal(first['seq'], 1);
    assert.match(String(first['path']), /bash$/);
    assert.ok(node.logged.some(({ missing }) => missing === 'NONE'));
  });

  test('what a label’s command prints now is in the events of the next session', async () => {
    pam.set(...permits);
    const labels = async () => {
      const { events } = await node.session('true', { login: user.name });
      return events.map((event) => event['server_labels']).filter((each) => each !== undefined);
    };
    const all = (phase: string) => (each: unknown) => assert.deepEqual(each, { team: 'red', phase });
    (await labels()).forEach(all('one'));
    pam.file('phase', 'two\n');
    await until('the next value', async () => JSON.stringify((await labels())[0])?.includes('two'));
    rmSync(`${pam.dir}/phase`);
    await until('no value', async () =>
      JSON.stringify((await labels())[0])?.includes('error: exit status 1'),
    );
  });
});

describe('a node makes the account that a role wants', { skip: cannotLaunch() }, () => {
  const login = `spm${process.pid}`;
  let node: OneNode;
  const marks = ['teleport-system', 'teleport-static'].filter(
    (mark) => spawnSync('getent', ['group', mark]).status !== 0,
  );
  before(async () => {
    const role = { createHostUserMode: 'insecure-drop' as const, createHostUserDefaultShell: '/bin/sh' };
    const sshYaml = '  commands: [{ name: kernel, command: [uname, -s], period: 1h }]';
    node = await OneNode.create({ logins: [login], role, sshYaml });
    await node.startChild();
  });
  after(async () => {
    await node?.remove();
    spawnSync('userdel', ['--remove', '--force', login]);
    for (const mark of marks) spawnSync('groupdel', [mark]);
  });

  const known = () => spawnSync('getent', ['passwd', login]).status === 0;
  const codes = async () =>
    (await node.events()).filter(({ event }) => event.startsWith('host_user.')).map(({ code }) => code);

  test('for the life of its sessions', async () => {
    assert.equal(known(), false);
    const { ran, events } = await node.session('id -un; echo $SHELL $PWD', { login });
    assert.equal(ran.stdout, `${login}\n/bin/sh /home/${login}\n`);
    assert.equal(events.at(-1)?.['enhanced_recording'], true);
    await until('it is gone', () => !known());
    assert.deepEqual(
      await until('both events', async () => (await codes()).length === 2 && (await codes())),
      ['THU00I', 'THU01I'],
    );
  });

  const tctl = fileURLToPath(new URL('../../../bin/tctl', import.meta.url));
  const run = (...args: string[]) =>
    execFileSync(tctl, [...args, '-c', join(node.folder, 'teleport.yaml')], { stdio: 'pipe' }).toString();

  test('and tells the cluster what its labels’ commands print', () => {
    assert.match(run('get', 'nodes'), /kernel: Linux/);
  });

  test('and one that the cluster wants on hosts like it, with nobody logging in', async () => {
    const name = `${login}s`;
    const file = join(node.folder, 'static.yaml');
    const matcher = `{ node_labels: [{ name: "*", values: ["*"] }], default_shell: /bin/sh }`;
    writeFileSync(
      file,
      `kind: static_host_user\nmetadata: { name: ${name} }\nspec: { matchers: [${matcher}] }\n`,
    );
    try {
      run('create', '-f', file);
      await until('the account is there', () => spawnSync('getent', ['passwd', name]).status === 0);
      assert.match(run('get', `static_host_user/${name}`), /default_shell: \/bin\/sh/);
      run('rm', `static_host_user/${name}`);
      await until('it is let go', async () => (await codes()).at(-1) === 'THU02I');
      assert.equal(spawnSync('getent', ['passwd', name]).status, 0);
    } finally {
      spawnSync('userdel', ['--remove', name]);
    }
  });

  test('also when the daemon is killed meanwhile', async () => {
    const client = node.spawnSsh('echo up; read line', { login });
    await new Promise((resolve) => client.stdout.once('data', resolve));
    assert.ok(known());
    await node.killChild('SIGKILL');
    await node.startChild();
    await until('it is gone', () => !known());
    client.kill();
  });
});
