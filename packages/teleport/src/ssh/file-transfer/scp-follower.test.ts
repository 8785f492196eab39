import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkEvent } from '@sallyport/contracts/events/event.ts';
import fc from 'fast-check';
import { facts } from '../facts.fixture.ts';
import { parseScpCommand } from './scp-command.ts';
import { ScpFollower } from './scp-follower.ts';

type Said = readonly [code: string, path: string, name?: string | undefined, error?: string | undefined];

function follower(command: string): ScpFollower {
  const parsed = parseScpCommand(command);
  assert.ok(parsed);
  return new ScpFollower({ ...facts, command }, parsed);
}

function told(of: ScpFollower): Said[] {
  return [...of.take(), ...of.end()].map((draft) => {
    const { code, path, name, exitError } = draft as unknown as Record<string, string>;
    return [String(code), String(path), name, exitError];
  });
}

/** `s` says what the sender sends, `r` what the receiver answers. */
function run(command: string, ...turns: readonly (readonly ['s' | 'r', string])[]): Said[] {
  const of = follower(command);
  const upload = command.includes(' -t');
  for (const [who, text] of turns) {
    if ((who === 's') === upload) of.fromClient(Buffer.from(text, 'latin1'));
    else of.fromServer(Buffer.from(text, 'latin1'));
  }
  return told(of);
}

const ok = ['r', '\0'] as const;

describe('the follower of scp', () => {
  test('tells each file of an upload, with its path where the protocol makes it certain', () => {
    const file = [ok, ['s', 'C0644 3 a.txt\n'], ok, ['s', 'abc'], ['s', '\0'], ok] as const;
    assert.deepEqual(run('scp -t /srv/a.txt', ...file), [['T3005I', '/srv/a.txt', undefined, undefined]]);
    assert.deepEqual(run('scp -t /srv', ...file), [['T3005I', '/srv', 'a.txt', undefined]]);
    assert.deepEqual(run('scp -d -t /srv', ...file), [['T3005I', '/srv/a.txt', undefined, undefined]]);
  });

  test('tells the files of folders, an empty one and times among them', () => {
    const turns = [
      ...[ok, ['s', 'T1 0 1 0\n'], ok, ['s', 'D0755 0 d\n'], ok, ['s', 'C0644 0 e\n'], ok, ['s', '\0'], ok],
      ...[['s', 'D0755 0 sub\n'], ok, ['s', 'C0600 2 f\n'], ok, ['s', 'hi\0'], ok, ['s', 'E\n'], ok],
      ...[['s', 'E\n'], ok, ['s', 'C0600 1 g\n'], ok, ['s', 'x\0'], ok],
    ] as const;
    const all = run('scp -r -d -t /srv', ...(turns as readonly (readonly ['s' | 'r', string])[]));
    assert.deepEqual(
      all.map(([code, path]) => [code, path]),
      [
        ['T3005I', '/srv/d/e'],
        ['T3005I', '/srv/d/sub/f'],
        ['T3005I', '/srv/g'],
      ],
    );
  });

  test('tells the files that a wildcard meant', () => {
    const said = run(
      'scp -f /srv/*.c',
      ok,
      ['s', 'C0644 1 a.c\n'],
      ok,
      ['s', 'x\0'],
      ok,
      ['s', 'C0644 0 b.c\n'],
      ok,
      ['s', '\0'],
    );
    assert.deepEqual(said, [
      ['T3004I', '/srv/a.c', undefined, undefined],
      ['T3004E', '/srv/b.c', undefined, 'the session ended before its end'],
    ]);
  });

  test('tells why: refused by whoever receives, missing at whoever sends, broken on the way', () => {
    assert.deepEqual(
      run('scp -t /srv/x', ok, ['s', 'C0644 3 x\n'], ['r', '\x01scp: /srv/x: Permission denied\n']),
      [['T3005E', '/srv/x', undefined, '/srv/x: Permission denied']],
    );
    assert.deepEqual(run('scp -f /nosuch', ok, ['s', '\x01scp: /nosuch: No such file or directory\n']), [
      ['T3004E', '/nosuch', undefined, '/nosuch: No such file or directory'],
    ]);
    assert.deepEqual(
      run('scp -f /x', ok, ['s', 'C0644 3 x\n'], ok, ['s', 'abc\x01scp: x: Input/output error\n'], ok),
      [['T3004E', '/x', undefined, 'x: Input/output error']],
    );
    assert.deepEqual(
      run('scp -t /x', ok, ['s', 'C0644 3 x\n'], ok, ['s', 'abc\0'], ['r', '\x01No space left on device\n']),
      [['T3005E', '/x', undefined, 'No space left on device']],
    );
    assert.deepEqual(run('scp -t /x', ok, ['s', 'C0644 30 x\n'], ok, ['s', 'abc']), [
      ['T3005E', '/x', undefined, 'the session ended before its end'],
    ]);
  });

  test('follows a client that waits for no answer', () => {
    assert.deepEqual(run('scp -t /x', ['s', 'C0644 3 x\nabc\0'], ok, ok, ok), [
      ['T3005I', '/x', undefined, undefined],
    ]);
  });

  test('says once when what passes is no copy, and from then on lets all of it be recorded', () => {
    const of = follower('scp -f /x');
    assert.equal(of.recordsOutput, false);
    of.fromServer(Buffer.from('Welcome to this host!\nC0644 3 x\n'));
    assert.equal(of.recordsOutput, true);
    of.fromServer(Buffer.from('more\n'));
    assert.deepEqual(
      told(of).map(([code]) => code),
      ['T3004E'],
    );
  });

  test('takes a line without an end for no copy', () => {
    const of = follower('scp -t /x');
    for (let i = 0; i < 20; i++) of.fromClient(Buffer.alloc(1_000, 'C'));
    assert.equal(of.recordsOutput, true);
  });

  test('never throws, whatever comes and however it is cut, and makes only events of the catalog', () => {
    const words = [
      '\0',
      'C0644 3 x\n',
      'abc',
      'D0755 0 d\n',
      'E\n',
      'T1 0 1 0\n',
      '\x01no\n',
      '\x02end\n',
      'C',
    ];
    const turn = fc.tuple(fc.constantFrom('s' as const, 'r' as const), fc.constantFrom(...words, '\xff\n'));
    const stamp = { ei: 1, uid: '00000000-0000-4000-8000-000000000001', time: new Date(0).toISOString() };
    fc.assert(
      fc.property(fc.array(turn, { maxLength: 60 }), fc.boolean(), (turns, up) => {
        const of = follower(up ? 'scp -r -t /x' : 'scp -r -f /x');
        for (const [who, text] of turns) {
          if ((who === 's') === up) of.fromClient(Buffer.from(text, 'latin1'));
          else of.fromServer(Buffer.from(text, 'latin1'));
        }
        for (const draft of [...of.take(), ...of.end()]) {
          const checked = checkEvent({ ...draft, ...stamp, cluster_name: 'demo' }, 'writing');
          assert.ok(checked.ok, checked.ok ? '' : checked.detail);
        }
      }),
      { numRuns: 400 },
    );
  });
});
