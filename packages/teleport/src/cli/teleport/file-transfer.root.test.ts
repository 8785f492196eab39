// Files over a node: OpenSSH's sftp and scp are the witnesses of what arrives, the log of who did what.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { recorderBinary } from '@sallyport/kernel/binaries.ts';
import { answer, ask } from '../../ssh/file-transfer/sftp-bytes.fixture.ts';
import { cannotLaunch, createLogin, type TestLogin } from '../../ssh/host.fixture.ts';
import { noSshd, RealSshd } from '../../ssh/sshd.fixture.ts';
import { CopyClient, checksum, copies } from './file-transfer.fixture.ts';
import { OneNode, type SeenEvent, until } from './one-node.fixture.ts';
import { assertWhole, only } from './session-assertions.fixture.ts';

const skip = cannotLaunch() || (!existsSync(recorderBinary) && 'the recorder is not built (make)');

describe('file transfer', { skip }, () => {
  let login: TestLogin;
  let node: OneNode;
  let client: CopyClient;
  /** Ours; the node's user has the other. */
  let near: string;
  let far: string;

  before(async () => {
    login = createLogin('ft');
    node = await OneNode.start({ logins: [login.name], role: { recordSession: 'strict' } });
    client = new CopyClient(node, login.name);
    near = await mkdtemp('/tmp/sp-near-');
    far = join(login.home, 'far');
    mkdirSync(far);
    execFileSync('chown', [login.name, far]);
  });
  after(async () => {
    await node?.remove();
    if (near) await rm(near, { recursive: true });
    login?.remove();
  });

  /** What the sessions of a piece of work left in the log, each checked to be whole. */
  const during = async (work: () => Promise<unknown>, sessions = 1): Promise<SeenEvent[]> => {
    const past = (await node.events()).filter(({ event }) => event === 'session.end').length;
    await work();
    const ended = (await node.ended(past + sessions)).slice(past);
    for (const events of ended) assertWhole(events);
    return ended.flat();
  };
  const random = (name: string, bytes: number): string => {
    const path = join(near, name);
    writeFileSync(path, randomBytes(bytes));
    return path;
  };

  test('serves every operation of sftp as the user, and tells each', async () => {
    const put = random('put', 300_000);
    const back = join(near, 'back');
    const events = await during(async () => {
      const ran = await client.sftp(
        ...['pwd', 'cd far', `put ${put} a`, 'mkdir d', 'rename a d/b', 'chmod 640 d/b', 'ln d/b hard'],
        ...[
          'symlink d/b soft',
          'ls -la d',
          `get soft ${back}`,
          'cp hard copied',
          'df .',
          'rm soft',
          'rm hard',
        ],
        ...['rm copied', 'rm d/b', 'rmdir d', '-rm /etc/passwd', '-mkdir /etc/d', '-get /etc/shadow'],
      );
      assert.equal(ran.status, 0, ran.stderr);
      assert.match(ran.stdout, new RegExp(`Remote working directory: ${login.home}`));
      assert.match(ran.stdout, new RegExp(`-rw-r----- +\\S+ ${login.name} +${login.name} +300000`));
    });
    assert.equal(await checksum(back), await checksum(put));
    const at = (...names: string[]) => names.map((name) => `${far}/${name}`).join(' ');
    assert.deepEqual(copies(events), [
      ...[`TS001I ${at('a')}`, `TS002I ${at('a')}`, `TS012I ${at('d')}`, `TS016I ${at('a', 'd/b')}`],
      ...[`TS007I ${at('d/b')}`, `TS019I ${at('hard', 'd/b')}`, `TS018I ${at('soft')} d/b`],
      ...[`TS009I ${at('d/')}`, `TS010I ${at('d/')}`, `TS001I ${at('soft')}`, `TS002I ${at('soft')}`],
      ...[`TS001I ${at('hard')}`, `TS001I ${at('copied')}`, `TS002I ${at('hard')}`, `TS002I ${at('copied')}`],
      ...[`TS011I ${at('soft')}`, `TS011I ${at('hard')}`, `TS011I ${at('copied')}`, `TS011I ${at('d/b')}`],
      ...[`TS013I ${at('d')}`, 'TS011E /etc/passwd', 'TS012E /etc/d', 'TS001E /etc/shadow'],
    ]);
    const [uploaded] = only(events, 'sftp').filter(({ code }) => code === 'TS002I');
    assert.deepEqual([uploaded?.['bytes_read'], uploaded?.['bytes_written']], [0, 300_000]);
    const denied = only(events, 'sftp').find(({ code }) => code === 'TS001E');
    assert.equal(denied?.['error'], 'Permission denied');
    assert.equal(denied?.['login'], login.name);
    assert.equal(events[0]?.['purpose'], 'sftp');
  });

  test('has the kernel’s word of the same files, and none of their contents in the recording', async () => {
    const marked = join(near, 'marked');
    writeFileSync(marked, 'a text that nobody should find\n'.repeat(100));
    const events = await during(() =>
      client.sftp(`put ${marked} far/marked`, `get far/marked ${marked}.back`),
    );
    const opened = only(events, 'session.disk').filter((event) => event['path'] === `${far}/marked`);
    assert.equal(opened.length, 2);
    assert.ok(opened.every((event) => event['program'] === 'sallyport-sftp'));
    const sid = String(events[0]?.['sid']);
    assert.doesNotMatch(await node.recordedOutput(sid), /nobody should find/);
    const asked = (await node.events()).filter(({ event }) => event === 'subsystem');
    assert.deepEqual([asked[0]?.code, asked[0]?.['name']], ['T3001I', 'sftp']);
  });

  for (const way of ['-s', '-O']) {
    test(`carries folders by scp ${way} there and back, with modes, times and links followed`, async () => {
      const tree = join(near, `tree${way}`);
      mkdirSync(join(tree, 'sub'), { recursive: true });
      for (const [name, bytes] of [
        ['empty', 0],
        ['one byte', 1],
        ['sub/large', 3_000_001],
        ['sub/ünïcödé', 77],
      ] as const)
        writeFileSync(join(tree, name), randomBytes(bytes));
      execFileSync('chmod', ['751', join(tree, 'sub/large')]);
      execFileSync('touch', ['-d', '2020-02-02 02:02:02', join(tree, 'sub/large'), join(tree, 'sub')]);
      execFileSync('ln', ['-s', 'large', join(tree, 'sub/link')]);
      const events = await during(async () => {
        const up = await client.scp([way, '-r', '-p'], tree, ':far/');
        assert.equal(up.status, 0, up.stderr);
        const down = await client.scp([way, '-r', '-p'], `:far/tree${way}`, `${tree}.back`);
        assert.equal(down.status, 0, down.stderr);
      }, 2);
      for (const name of ['empty', 'one byte', 'sub/large', 'sub/ünïcödé', 'sub/link'])
        assert.equal(await checksum(join(`${tree}.back`, name)), await checksum(join(tree, name)), name);
      const large = statSync(join(far, `tree${way}/sub/large`));
      assert.deepEqual([large.mode & 0o777, large.mtimeMs], [0o751, Date.parse('2020-02-02 02:02:02')]);
      const said = copies(events);
      const done = way === '-s' ? ['TS002I', 'TS002I'] : ['T3005I', 'T3004I'];
      const path = way === '-s' ? `${far}/tree${way}/sub/large` : undefined;
      if (path) assert.equal(said.filter((line) => line === `TS002I ${path}`).length, 2);
      for (const code of done)
        assert.ok(said.filter((line) => line.startsWith(code)).length >= 5, said.join('\n'));
      assert.equal(said.filter((line) => /^\S+E /.test(line)).length, 0, said.join('\n'));
    });
  }

  test('tells of scp -O the file, what failed, and nothing of the contents', async () => {
    const one = random('one', 5_000);
    const events = await during(async () => {
      assert.equal((await client.scp(['-O'], one, ':far/renamed')).status, 0);
      assert.notEqual((await client.scp(['-O'], one, ':/etc/not-mine')).status, 0);
      assert.notEqual((await client.scp(['-O'], ':far/nosuch', near)).status, 0);
    }, 3);
    const said = only(events, 'scp').map(({ code, path, name, size, action }) => ({
      code,
      path,
      name,
      size,
      action,
    }));
    assert.deepEqual(said, [
      { code: 'T3005I', path: 'far/renamed', name: 'one', size: 5_000, action: 'upload' },
      { code: 'T3005E', path: '/etc/not-mine', name: 'one', size: 5_000, action: 'upload' },
      { code: 'T3004E', path: 'far/nosuch', name: undefined, size: undefined, action: 'download' },
    ]);
    assert.match(String(only(events, 'scp')[1]?.['exitError']), /Permission denied/);
  });

  test('goes on where a transfer broke off, both ways', async () => {
    const whole = random('whole', 2_000_000);
    const part = join(near, 'part');
    writeFileSync(part, readFileSync(whole).subarray(0, 700_000));
    const events = await during(async () => {
      const ran = await client.sftp(
        `put ${part} far/resumed`,
        `reput ${whole} far/resumed`,
        `reget far/resumed ${part}`,
      );
      assert.equal(ran.status, 0, ran.stderr);
    });
    assert.equal(await checksum(join(far, 'resumed')), await checksum(whole));
    assert.equal(await checksum(part), await checksum(whole));
    const totals = only(events, 'sftp').filter(({ code }) => code === 'TS002I');
    assert.deepEqual(
      totals.map((event) => [event['bytes_read'], event['bytes_written']]),
      [
        [0, 700_000],
        [0, 1_300_000],
        [1_300_000, 0],
      ],
    );
  });

  test('lists a folder of 100,000 files, and tells it in three lines', async () => {
    // In memory where there is such a place: making the files is what takes long.
    const crowd = mkdtempSync(existsSync('/dev/shm') ? '/dev/shm/sp-crowd-' : '/tmp/sp-crowd-');
    execFileSync('chmod', ['755', crowd]);
    try {
      execFileSync('sh', ['-c', 'seq -f f%06g 100000 | xargs touch'], { cwd: crowd });
      const events = await during(async () => {
        const ran = await client.sftp(`ls -1 ${crowd}`);
        assert.equal(ran.status, 0, ran.stderr);
        assert.equal(ran.stdout.split('\n').filter((line) => line.includes('/f')).length, 100_000);
      });
      assert.deepEqual(copies(events), [`TS009I ${crowd}/`, `TS010I ${crowd}/`]);
    } finally {
      rmSync(crowd, { recursive: true });
    }
  });

  test('answers thousands of requests at once, in their order', async () => {
    const requests = Array.from({ length: 12_000 }, (_, id) =>
      ask.stat(id, id % 2 ? '/etc/hostname' : '/nosuch'),
    );
    const removals = Array.from({ length: 1_500 }, (_, id) => ask.remove(id, `far/none-${id}`));
    const events = await during(async () => {
      const { output } = await client.raw(Buffer.concat([ask.init, ...requests, ...removals]));
      let id = -1;
      for (let at = 0; at < output.length; at += 4 + output.readUInt32BE(at)) {
        if (id >= 0) assert.equal(output.readUInt32BE(at + 5), id % 12_000);
        id += 1;
      }
      assert.equal(id, 13_500);
    });
    assert.equal(copies(events).length, 1_500);
  });

  const hostile: readonly [string, Buffer][] = [
    ['a packet too long', Buffer.from([0x7f, 0xff, 0xff, 0xff, 3, 0, 0, 0, 1])],
    ['a packet of nothing', Buffer.alloc(64)],
    ['a request before the greeting', ask.remove(1, 'far/kept')],
    ['a write that lies', Buffer.concat([ask.init, ask.write(1, 'h', Buffer.alloc(9)).fill(0xff, 22, 26)])],
    ['text', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
    ['an answer', Buffer.concat([ask.init, answer.handle(1, 'x'), ask.init])],
  ];
  for (const [what, bytes] of hostile) {
    test(`ends the session at ${what}, and does nothing that comes behind it`, async () => {
      writeFileSync(join(far, 'kept'), 'kept');
      execFileSync('chown', [login.name, join(far, 'kept')]);
      const events = await during(async () => {
        const ran = await client.raw(Buffer.concat([bytes, ask.remove(2, 'far/kept')]), true);
        assert.match(ran.stderr, /The file transfer cannot be recorded: the client sent/);
        assert.notEqual(ran.status, 0);
      });
      assert.ok(existsSync(join(far, 'kept')));
      assert.match(String(events.at(-1)?.['interrupted_reason']), /cannot be recorded/);
    });
  }

  test('tells how far a transfer came whose client was killed, and leaves nothing running', async () => {
    const large = join(far, 'large');
    execFileSync('truncate', ['-s', '40G', large]);
    try {
      const events = await during(async () => {
        const child = client.startScp(['-s', '-l', '800000'], ':far/large', '/dev/null');
        await until('bytes are read', async () =>
          copies(await node.events()).some((line) => line === 'TS001I far/large'),
        );
        child.kill('SIGKILL');
      });
      const closed = only(events, 'sftp').at(-1);
      assert.deepEqual([closed?.code, closed?.['path']], ['TS002E', 'far/large']);
      assert.match(String(closed?.['error']), /before it was closed/);
    } finally {
      rmSync(large);
    }
  });

  test('ends when its server is killed by its own user', async () => {
    const events = await during(async () => {
      const running = client.raw(Buffer.concat([ask.init, ask.open(1, 'far/kept', 1)]), true);
      const [start] = await until('it runs', async () => {
        const starts = only(await node.events(), 'session.start').filter(
          (event) => event['purpose'] === 'sftp',
        );
        const last = starts.at(-1);
        const opened = copies(await node.events())
          .at(-1)
          ?.startsWith(`TS001I far/kept`);
        return last && opened ? [last] : undefined;
      });
      assert.ok(start);
      execFileSync('pkill', ['-KILL', '-u', login.name, '-x', 'sallyport-sftp']);
      assert.notEqual((await running).status, 0);
    });
    assert.equal(only(events, 'sftp').at(-1)?.code, 'TS002E');
  });

  test('can be traced by nobody, least of all by its user', async () => {
    await during(async () => {
      const running = client.raw(ask.init, true);
      const pid = await until('it runs', () => {
        try {
          return execFileSync('pgrep', ['-u', login.name, '-x', 'sallyport-sftp']).toString().trim();
        } catch {
          return undefined;
        }
      });
      assert.equal(lstatSync(`/proc/${pid}/fd`).uid, 0); // root's: what undumpable looks like
      assert.equal(readlinkSync(`/proc/${pid}/cwd`), login.home);
      process.kill(Number(pid));
      await running;
    });
  });

  test('serves nobody whose shell lets nobody in', async () => {
    execFileSync('usermod', ['-s', '/usr/sbin/nologin', login.name]);
    try {
      await during(async () => {
        const ran = await client.raw(ask.init);
        assert.match(ran.stderr, /not available: its shell is \/usr\/sbin\/nologin/);
        assert.notEqual(ran.status, 0);
        assert.equal(ran.output.length, 0);
      });
    } finally {
      execFileSync('usermod', ['-s', '/bin/bash', login.name]);
    }
  });
});

describe('beside OpenSSH’s own server', { skip: skip || noSshd }, () => {
  let login: TestLogin;
  let node: OneNode;
  let sshd: RealSshd;
  let folder: string;
  let peers: readonly (readonly [name: string, client: CopyClient])[];

  before(async () => {
    login = createLogin('fs');
    node = await OneNode.start({ logins: [login.name] });
    sshd = await RealSshd.start({ settings: 'Subsystem sftp /usr/lib/openssh/sftp-server' });
    folder = mkdtempSync(existsSync('/dev/shm') ? '/dev/shm/sp-copies-' : '/tmp/sp-copies-');
    execFileSync('chmod', ['777', folder]);
    peers = [
      ['Sallyport', new CopyClient(node, login.name)],
      ['sshd', new CopyClient(node, login.name, { folder, copyOptions: sshd.copyOptions })],
    ];
  });
  after(async () => {
    sshd?.stop();
    await node?.remove();
    if (folder) rmSync(folder, { recursive: true });
    login?.remove();
  });

  test('answers each operation as that does, what fails among it', async () => {
    const near = join(folder, 'near');
    writeFileSync(near, 'x'.repeat(70_000));
    const batch = (far: string) => `cd ${far}; ls -la nosuch; put ${near} nosuch/x; put ${near} a; mkdir d
      mkdir d; mkdir d/e; rmdir d; rmdir nosuch; rm d; rm nosuch; ln -s a l; ln -s a l; ln a h; ln a h; ln nosuch n
      ls -1; ls -1 d; rename a d/b; put ${near} b; rename b d/b; rename nosuch c; rename d/b nosuch/b; put ${near} b
      chmod 600 b; chmod 4711 h; chmod 600 nosuch; chmod 600 /etc/passwd; chown 0 b; get /etc/shadow; get d
      put ${near} /etc/x; cd nosuch; cd b; cd d; pwd; cd ..; ls -n l h; get l/x; df b; cp b copied; cp nosuch c
      ls -l d/b/x; rm l; rm h; rmdir d/e; ls -a; put ${near} d; rmdir d/near; put -p ${near} kept; ls -ln kept`;
    const said: string[] = [];
    for (const [name, client] of peers) {
      const far = join(folder, name);
      mkdirSync(far);
      execFileSync('chown', [login.name, far]);
      // Each may fail: how it does is what is compared.
      const ran = await client.sftp(
        ...batch(far)
          .split(/[;\n]/)
          .map((command) => `-${command.trim()}`),
      );
      const both = `${ran.status}\n${ran.stdout}\n${ran.stderr}`;
      said.push(
        both
          .replaceAll(far, 'FAR')
          .replaceAll(/\d\d:\d\d/g, 'TIME')
          .replace(/^ +\d+ +\d+ .*%$/m, 'DISK'),
      );
      execFileSync('rm', ['-r', far]);
    }
    assert.equal(said[0], said[1]);
    assert.match(said[0] ?? '', /Permission denied/);
  });

  /** Rates are told, not judged: `make bench` compares them. */
  const thereAndBack = async (t: TestContext, [name, client]: (typeof peers)[number], megabytes: number) => {
    const [blob, up, down] = [join(folder, 'blob'), join(folder, 'up'), join(folder, 'down')];
    execFileSync('sh', ['-c', `head -c ${megabytes}MB /dev/urandom > ${blob}`]);
    const wanted = await checksum(blob);
    for (const [way, ...places] of [
      ['to the host', blob, `:${up}`],
      ['from it', `:${up}`, down],
    ] as const) {
      const from = performance.now();
      const ran = await client.scp(['-s', '-c', 'aes128-gcm@openssh.com'], ...places);
      const seconds = (performance.now() - from) / 1e3;
      assert.equal(ran.status, 0, ran.stderr);
      t.diagnostic(`${name}, ${way}: ${(megabytes / seconds).toFixed(0)} MB/s`);
    }
    rmSync(blob);
    assert.equal(await checksum(up), wanted);
    rmSync(up);
    assert.equal(await checksum(down), wanted);
    rmSync(down);
  };

  test('carries 128 MB byte for byte, both ways', async (t) => {
    for (const peer of peers) await thereAndBack(t, peer, 128);
  });

  test('carries a file of 1 GB byte for byte, both ways', async (t) => {
    const [ours] = peers;
    assert.ok(ours);
    await thereAndBack(t, ours, 1_000);
  });
});

describe('who may not copy', { skip }, () => {
  for (const [where, options, reason] of [
    ['role', { role: { sshFileCopy: false } }, /a role of the user forbids it/],
    ['node', { sshYaml: '  ssh_file_copy: false' }, /this node copies no files/],
  ] as const) {
    test(`is told so in every spelling, and the log says who asked (${where})`, async () => {
      const node = await OneNode.start({ enhanced: false, ...options });
      const near = await mkdtemp('/tmp/sp-near-');
      try {
        const client = new CopyClient(node, 'root');
        const refused = [
          await client.sftp('ls'),
          await client.scp(['-s'], '/etc/hostname', `:${near}/s`),
          await client.scp(['-O'], '/etc/hostname', `:${near}/O`),
          await node.ssh(`cd ${near}; "scp" -t x`),
          await node.ssh('/usr/lib/openssh/sftp-server'),
        ];
        for (const { status, stderr } of refused) {
          assert.notEqual(status, 0);
          assert.match(stderr, reason);
        }
        assert.deepEqual(execFileSync('ls', [near]).toString(), '');
        assert.equal((await node.ssh('echo a shell is a shell')).stdout, 'a shell is a shell\n');
        const told = await until('all are told', async () => {
          const events = (await node.events()).filter(({ event }) => event === 'sftp' || event === 'scp');
          return events.length === 5 && events;
        });
        assert.deepEqual(
          told.map(({ code, user, path }) => [code, user, path]),
          [
            ['TS020E', 'alice', undefined],
            ['TS020E', 'alice', undefined],
            ['T3010E', 'alice', `${near}/O`],
            ['T3010E', 'alice', undefined],
            ['T3010E', 'alice', undefined],
          ],
        );
        assert.match(String(told[0]?.['error'] ?? ''), reason);
      } finally {
        await node.remove();
        await rm(near, { recursive: true });
      }
    });
  }
});
