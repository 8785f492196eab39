import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkEvent, type EventDraft } from '@sallyport/contracts/events/event.ts';
import fc from 'fast-check';
import { facts } from '../facts.fixture.ts';
import { answer, ask } from './sftp-bytes.fixture.ts';
import { SftpFollower } from './sftp-follower.ts';

type Said = Record<string, unknown>;

function own(draft: EventDraft): Said {
  const fields: Said = { ...draft };
  const kept =
    'code path path_bytes target_path flags attributes error bytes_read bytes_written working_directory';
  return Object.fromEntries(kept.split(' ').flatMap((key) => (key in fields ? [[key, fields[key]]] : [])));
}

function greeted(): SftpFollower {
  const follower = new SftpFollower(facts);
  assert.equal(follower.fromClient(ask.init), undefined);
  assert.equal(follower.fromServer(answer.version), undefined);
  return follower;
}

/** One exchange after another; what the log gets of it. */
function follow(...exchanges: readonly [Buffer, Buffer][]): Said[] {
  const follower = greeted();
  for (const [request, reply] of exchanges) {
    assert.equal(follower.fromClient(request), undefined);
    assert.equal(follower.fromServer(reply), undefined);
  }
  return follower.take().map(own);
}

const attributes = { size: 7, uid: 1, gid: 2, mode: 0o644, atime: 86_400, mtime: 86_401 };
const listed = {
  ...{ file_size: 7, uid: 1, gid: 2, permissions: 420 },
  access_time: '1970-01-02T00:00:00.000Z',
  modification_time: '1970-01-02T00:00:01.000Z',
};

/** Each row of the wire contract: what was asked, as what it is told. */
const rows: readonly [string, Buffer, Said][] = [
  ['TS007', ask.setstat(1, '/f', attributes), { path: '/f', attributes: listed }],
  ['TS007', ask.extended(1, 'lsetstat@openssh.com', '/f', { uint32: 0 }), { path: '/f' }],
  ['TS011', ask.remove(1, '/f'), { path: '/f' }],
  ['TS012', ask.mkdir(1, '/d', { mode: 0o700 }), { path: '/d', attributes: { permissions: 448 } }],
  ['TS013', ask.rmdir(1, '/d'), { path: '/d' }],
  ['TS016', ask.rename(1, '/a', '/b'), { path: '/a', target_path: '/b' }],
  ['TS016', ask.extended(1, 'posix-rename@openssh.com', '/a', '/b'), { path: '/a', target_path: '/b' }],
  ['TS018', ask.symlink(1, 'target', '/link'), { path: '/link', target_path: 'target' }],
  ['TS019', ask.extended(1, 'hardlink@openssh.com', '/f', '/g'), { path: '/g', target_path: '/f' }],
];

describe('the follower of an sftp session', () => {
  for (const [code, request, fields] of rows) {
    test(`tells ${code} of ${fields['path']}, done and failed, as the catalog has it`, () => {
      assert.deepEqual(follow([request, answer.ok(1)]), [{ code: `${code}I`, ...fields }]);
      const error = 'Permission denied';
      assert.deepEqual(follow([request, answer.denied(1)]), [{ code: `${code}E`, ...fields, error }]);
    });
  }

  test('tells an open with its flags, and at its close how much went each way', () => {
    const said = follow(
      [ask.realpath(1, '.'), answer.name(1, '/home/alice')],
      [ask.open(2, 'f', 26, { mode: 0o600 }), answer.handle(2, 'h')],
      [ask.write(3, 'h', Buffer.alloc(70_000)), answer.ok(3)],
      [ask.write(4, 'h', Buffer.alloc(9)), answer.denied(4)],
      [ask.read(5, 'h', 100), answer.data(5, Buffer.alloc(60))],
      [ask.read(6, 'h', 100), answer.status(6, 1)],
      [ask.fsetstat(7, 'h', { mode: 0o640 }), answer.ok(7)],
      [ask.close(8, 'h'), answer.ok(8)],
      [ask.close(9, 'h'), answer.denied(9)],
    );
    const place = { path: 'f', working_directory: '/home/alice' };
    assert.deepEqual(said, [
      { code: 'TS001I', ...place, flags: 26, attributes: { permissions: 384 } },
      { code: 'TS007I', ...place, attributes: { permissions: 416 } },
      { code: 'TS002I', ...place, bytes_read: 60, bytes_written: 70_000 },
    ]);
  });

  test('tells once that a folder was listed, and of neither folder nor link that it was closed', () => {
    const listing = [1, 2, 3].map((n): [Buffer, Buffer] => [ask.readdir(n, 'd'), answer.name(n, 'x')]);
    const said = follow(
      [ask.opendir(0, '/d'), answer.handle(0, 'd')],
      ...listing,
      [ask.readdir(4, 'd'), answer.status(4, 1)],
      [ask.close(5, 'd'), answer.ok(5)],
    );
    assert.deepEqual(said, [
      { code: 'TS009I', path: '/d' },
      { code: 'TS010I', path: '/d' },
    ]);
  });

  test('keeps the exact bytes of a name that is no UTF-8', () => {
    const name = Buffer.from([0x2f, 0xff]);
    const path = Buffer.concat([Buffer.from([0, 0, 0, 2]), name]);
    const request = ask.remove(1, '');
    const whole = Buffer.concat([request.subarray(0, 9), path]);
    whole.writeUInt32BE(whole.length - 4);
    const [said] = follow([whole, answer.ok(1)]);
    assert.deepEqual(said, { code: 'TS011I', path: '/\ufffd', path_bytes: name.toString('base64') });
  });

  test('is not misled by a client that guesses the handle it is about to be given', () => {
    const follower = greeted();
    const ahead = [ask.open(1, '/f', 2), ask.fsetstat(2, 'h', { mode: 0o777 }), ask.close(3, 'h')];
    follower.fromClient(Buffer.concat(ahead));
    follower.fromServer(Buffer.concat([answer.handle(1, 'h'), answer.ok(2), answer.ok(3)]));
    assert.deepEqual(
      follower.take().map((draft) => [draft.code, own(draft)['path']]),
      [
        ['TS001I', '/f'],
        ['TS007I', '/f'],
        ['TS002I', '/f'],
      ],
    );
  });

  test('tells at the end what was left: a question without an answer, a file without a close', () => {
    const follower = greeted();
    follower.fromClient(Buffer.concat([ask.open(1, '/f', 2), ask.write(2, 'h', Buffer.alloc(5))]));
    follower.fromServer(Buffer.concat([answer.handle(1, 'h'), answer.ok(2)]));
    follower.fromClient(ask.remove(3, '/g'));
    follower.take();
    assert.deepEqual(follower.end().map(own), [
      { code: 'TS011E', path: '/g', error: 'the session ended before the answer' },
      {
        code: 'TS002E',
        path: '/f',
        ...{ bytes_read: 0, bytes_written: 5, error: 'the session ended before it was closed' },
      },
    ]);
  });

  const wrong: readonly [string, Buffer[], Buffer[]][] = [
    ['a request before the greeting', [ask.stat(1, '/')], []],
    ['a second greeting', [ask.init, ask.init], []],
    ['a write that says less than it brings', [ask.init, lying(ask.write(1, 'h', Buffer.alloc(9)), 5)], []],
    ['a write that says more', [ask.init, lying(ask.write(1, 'h', Buffer.alloc(9)), 500)], []],
    ['a path cut short', [ask.init, ask.remove(1).subarray(0, 9), Buffer.alloc(2)], []],
    ['an answer nobody asked for', [ask.init], [answer.version, answer.ok(1)]],
    ['an answer out of order', [ask.init, ask.remove(1, '/a')], [answer.version, answer.ok(2)]],
    ['an answer of another kind', [ask.init, ask.remove(1, '/a')], [answer.version, answer.handle(1, 'h')]],
    ['a handle for a read', [ask.init, ask.read(1, 'h', 5)], [answer.version, answer.handle(1, 'h')]],
    ['no greeting', [ask.init], [answer.ok(3)]],
  ];
  for (const [what, requests, answers] of wrong) {
    test(`takes ${what} for what ends a session`, () => {
      const follower = new SftpFollower(facts);
      const client = requests.map((bytes) => follower.fromClient(fixed(bytes)));
      const server = answers.map((bytes) => follower.fromServer(bytes));
      assert.equal(typeof [...client, ...server].at(-1), 'string', String([...client, ...server]));
    });
  }

  test('bounds what a server can make it remember', () => {
    const follower = greeted();
    let wrong: string | undefined;
    for (let n = 0; n < 600 && wrong === undefined; n++) {
      follower.fromClient(ask.open(n, '/f', 1));
      wrong = follower.fromServer(answer.handle(n, String(n)));
    }
    assert.equal(wrong, 'a handle that cannot be');
  });

  test('never throws, whatever bytes come from either side, and makes only events of the catalog', () => {
    const known = [
      ...rows.map(([, request]) => request),
      ask.open(1, '/f', 1),
      ask.opendir(1, '/'),
      ask.init,
    ];
    const replies = [
      answer.ok(1),
      answer.denied(1),
      answer.handle(1, 'h'),
      answer.name(1, 'n'),
      answer.version,
    ];
    const piece = (from: readonly Buffer[]) =>
      fc.oneof(
        fc.constantFrom(...from),
        fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array)),
      );
    const turn = fc.oneof(
      fc.tuple(fc.constant('c'), piece(known)),
      fc.tuple(fc.constant('s'), piece(replies)),
    );
    const stamp = { ei: 1, uid: '00000000-0000-4000-8000-000000000001', time: new Date(0).toISOString() };
    fc.assert(
      fc.property(fc.array(turn, { maxLength: 40 }), (turns) => {
        const follower = new SftpFollower(facts);
        for (const [side, bytes] of turns) {
          if (side === 'c') follower.fromClient(bytes);
          else follower.fromServer(bytes);
        }
        for (const draft of [...follower.take(), ...follower.end()]) {
          const checked = checkEvent({ ...draft, ...stamp, cluster_name: 'demo' }, 'writing');
          assert.ok(checked.ok, checked.ok ? '' : checked.detail);
        }
      }),
      { numRuns: 400 },
    );
  });
});

/** A WRITE whose word of how much it brings is another. */
function lying(request: Buffer, says: number): Buffer {
  const copy = Buffer.from(request);
  copy.writeUInt32BE(says, copy.length - 9 - 4);
  return copy;
}

/** A packet that was cut says its new length itself. */
function fixed(bytes: Buffer): Buffer {
  if (bytes.length < 5) return bytes;
  const copy = Buffer.from(bytes);
  copy.writeUInt32BE(copy.length - 4);
  return copy;
}
