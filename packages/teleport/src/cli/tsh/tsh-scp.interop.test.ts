// `tsh scp` as people use it, against a real node.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Account, type Ran, skip, TestCluster, tshProgram } from './cluster.fixture.ts';
import { Terminal } from './terminal.fixture.ts';

const sum = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

describe('tsh scp', { skip, timeout: 120_000 }, () => {
  let cluster: TestCluster;
  let account: Account;
  /** The account at the node. */
  let at: string;
  /** Its folder there, ours here. */
  let far: string;
  let near: string;

  before(async () => {
    account = new Account('scp');
    at = `${account.name}@node-1`;
    near = await mkdtemp('/tmp/sp-scp-');
    far = join(account.home, 'far');
    mkdirSync(far);
    execFileSync('chown', [account.name, far]);
    cluster = await TestCluster.start({ secondFactor: 'off' });
    await cluster.put({
      kind: 'role',
      metadata: { name: 'no-copies' },
      spec: { allow: {}, options: { ssh_file_copy: false } },
    });
    await cluster.person('alice', { logins: account.name, roles: 'access' });
    await cluster.person('bob', { logins: account.name, roles: 'access,no-copies' });
    for (const name of ['alice', 'bob']) {
      await cluster.makeHome(name);
      const { status, stderr } = await cluster.logIn(name);
      assert.equal(status, 0, stderr);
    }
  });
  after(async () => {
    Terminal.killAll();
    await cluster?.remove();
    account?.remove();
    if (near) await rm(near, { recursive: true });
  });

  const scp = (...args: string[]): Promise<Ran> => cluster.tsh('alice', ['scp', ...args]);
  const must = async (...args: string[]): Promise<void> => {
    const { status, stdout, stderr } = await scp(...args);
    assert.deepEqual([status, stdout, stderr], [0, '', '']);
  };
  const random = (name: string, bytes: number): string => {
    const path = join(near, name);
    writeFileSync(path, randomBytes(bytes));
    return path;
  };

  test('carries files of every size there and back, under their own name or another', async () => {
    const [none, one, large] = [random('none', 0), random('one', 1), random('large', 20_000_003)];
    await must(none, one, large, `${at}:far`);
    await must(large, `${at}:far/renamed`);
    mkdirSync(join(near, 'back'));
    await must(`${at}:far/none`, `${at}:far/one`, `${at}:~/far/large`, join(near, 'back'));
    await must(`${at}:${far}/renamed`, join(near, 'renamed'));
    for (const path of [none, one, large])
      assert.equal(sum(path.replace(near, join(near, 'back'))), sum(path), path);
    assert.equal(sum(join(near, 'renamed')), sum(large));
    assert.equal(statSync(join(far, 'large')).uid, statSync(account.home).uid);
    // Over a longer one: nothing of the old is left behind.
    await must(one, `${at}:far/renamed`);
    assert.equal(statSync(join(far, 'renamed')).size, 1);
    await must(`${at}:far/one`, join(near, 'renamed'));
    assert.equal(sum(join(near, 'renamed')), sum(one));
  });

  test('carries folders with times and permissions, empty ones and links followed', async () => {
    const tree = join(near, 'tree');
    mkdirSync(join(tree, 'a/empty'), { recursive: true });
    const file = random('tree/a/file', 300_000);
    execFileSync('ln', ['-s', 'file', join(tree, 'a/link')]);
    execFileSync('chmod', ['750', file]);
    execFileSync('chmod', ['555', join(tree, 'a/empty')]);
    execFileSync('touch', ['-d', '2021-03-04 05:06:07', file, join(tree, 'a')]);
    await must('-r', '-p', tree, `${at}:far/`);
    await must('-r', '-p', `${at}:far/tree`, join(near, 'tree-back'));
    for (const root of [join(far, 'tree'), join(near, 'tree-back')]) {
      assert.equal(sum(join(root, 'a/link')), sum(file));
      const facts = statSync(join(root, 'a/file'));
      assert.deepEqual([facts.mode & 0o777, facts.mtimeMs], [0o750, Date.parse('2021-03-04 05:06:07')]);
      assert.equal(statSync(join(root, 'a')).mtimeMs, Date.parse('2021-03-04 05:06:07'));
      assert.equal(statSync(join(root, 'a/empty')).mode & 0o777, 0o555);
    }
  });

  test('finds what wildcards mean at the node', async () => {
    for (const name of ['x1.log', 'x2.log', 'y.log', '.hidden.log', 'odd*name'])
      writeFileSync(join(far, name), name);
    mkdirSync(join(near, 'found'));
    await must(`${at}:far/*.log`, join(near, 'found'));
    assert.deepEqual(readdirSync(join(near, 'found')).sort(), ['x1.log', 'x2.log', 'y.log']);
    mkdirSync(join(near, 'two'));
    await must(`${at}:f?r/x[12].log`, `${at}:far/odd*name`, join(near, 'two'));
    assert.deepEqual(readdirSync(join(near, 'two')).sort(), ['odd*name', 'x1.log', 'x2.log']);
    const none = await scp(`${at}:far/*.none`, near);
    assert.equal(none.status, 1);
    assert.match(none.stderr, /far\/\*\.none: No file is meant by it/);
  });

  test('goes on where a copy broke off, both ways', async () => {
    const whole = random('whole', 30_000_000);
    const part = readFileSync(whole).subarray(0, 21_000_000);
    writeFileSync(join(far, 'whole'), part);
    execFileSync('chown', [account.name, join(far, 'whole')]);
    await must('--resume', whole, `${at}:far/`);
    assert.equal(sum(join(far, 'whole')), sum(whole));
    writeFileSync(join(near, 'whole-back'), part);
    await must('--resume', `${at}:far/whole`, join(near, 'whole-back'));
    assert.equal(sum(join(near, 'whole-back')), sum(whole));
    const larger = await scp('--resume', random('short', 10), `${at}:far/whole`);
    assert.match(larger.stderr, /is larger than what it would be resumed from/);
    assert.equal(statSync(join(far, 'whole')).size, 30_000_000);
  });

  test('names the file that failed, copies the others, and exits with 1', async () => {
    const one = random('fine', 10);
    writeFileSync(join(far, 'secret'), 'x', { mode: 0o600 });
    const ran = await scp(one, join(near, 'nosuch'), near, `${at}:far/`);
    assert.equal(ran.status, 1);
    assert.match(ran.stderr, /nosuch: No such file or directory/);
    assert.match(ran.stderr, /sp-scp-\S+: Is a directory \(use -r\)/);
    assert.ok(existsSync(join(far, 'fine')));
    const denied = await scp(`${at}:far/secret`, `${at}:far/fine`, near);
    assert.equal(denied.status, 1);
    assert.match(denied.stderr, /node-1:far\/secret: Permission denied/);
    assert.match((await scp(one, `${at}:/etc/`)).stderr, /fine: Permission denied/);
    assert.match((await scp(one, `${at}:nosuch/`)).stderr, /node-1:nosuch\/: No such directory/);
  });

  test('says what is wrong with the places', async () => {
    for (const [args, reason] of [
      [['only'], /At least two places/],
      [['a', 'b'], /None of these places is on a node/],
      [[`${at}:a`, `${at}:b`], /not copied from node to node/],
      [['/etc/hostname', 'nobody@node-1:x'], /refused the login "nobody"/],
      [['/etc/hostname', `${account.name}@nosuch:x`], /nosuch cannot be reached/],
    ] as const) {
      const ran = await scp(...args);
      assert.equal(ran.status === 0, false);
      assert.match(ran.stderr, reason);
    }
  });

  test('is told by the node that files are not copied', async () => {
    const ran = await cluster.tsh('bob', ['scp', '/etc/hostname', `${at}:far/`]);
    assert.match(ran.stderr, /node-1 serves no files: .*a role of the user forbids it/);
    assert.equal(existsSync(join(far, 'hostname')), false);
  });

  test('leads OpenSSH’s sftp to a node', async () => {
    const batch = join(near, 'batch');
    const file = random('by-hand', 100_000);
    writeFileSync(batch, `put ${file}\nls -l by-hand\n`);
    const ran = await cluster.tsh('alice', ['sftp', '-b', batch, `${at}:far`]);
    assert.equal(ran.status, 0, ran.stderr);
    assert.match(ran.stdout, new RegExp(`${account.name} .* 100000 .* by-hand`));
    assert.equal(sum(join(far, 'by-hand')), sum(file));
    assert.equal((await cluster.tsh('alice', ['sftp', '-b', join(near, 'nosuch'), at])).status, 255); // its own
  });

  test('shows progress on a terminal, unless it is to be quiet', async () => {
    const file = random('shown', 3_000_000);
    const shows = async (flags: string) => {
      const terminal = new Terminal(
        `stty cols 70; exec ${tshProgram} scp ${flags} ${file} ${at}:far/`,
        cluster.env('alice'),
      );
      assert.equal(await terminal.ended(), 0, terminal.shown);
      return terminal.shown;
    };
    assert.match(await shows(''), /shown +100% +2\.9MB +\S+\/s 00:0\d\r?\n/);
    assert.equal(await shows('-q'), '');
  });
});
