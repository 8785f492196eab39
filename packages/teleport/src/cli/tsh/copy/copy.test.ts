// The parts of a copy that need no node; whole copies are held in tsh-scp.interop.test.ts.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AppError } from '@sallyport/contracts/errors.ts';
import fc from 'fast-check';
import { copyFile, resumePoint } from './copy-file.ts';
import { parsePlace } from './place.ts';
import { line } from './progress.ts';
import type { FileFacts } from './tree.ts';
import { patternOf } from './wildcards.ts';

test('reads a place as scp does', () => {
  const remote = (login: string | undefined, node: string, path: string) => ({
    remote: { login, node, path },
  });
  assert.deepEqual(parsePlace('web-1:/srv'), remote(undefined, 'web-1', '/srv'));
  assert.deepEqual(parsePlace('root@web-1:'), remote('root', 'web-1', ''));
  assert.deepEqual(parsePlace('root@[::1]:a:b'), remote('root', '[::1]', 'a:b'));
  for (const local of ['file', './a:b', '/a:b', ':x', 'a/b:c', ''])
    assert.deepEqual(parsePlace(local), { local });
});

test('means by a wildcard what a shell means', () => {
  const means = (pattern: string, ...names: string[]) => names.filter(patternOf(pattern));
  assert.deepEqual(means('*', 'a', '.b', 'c.d'), ['a', 'c.d']);
  assert.deepEqual(means('.*', 'a', '.b'), ['.b']);
  assert.deepEqual(means('a?c', 'abc', 'ac', 'abbc'), ['abc']);
  assert.deepEqual(means('[a-c]x', 'bx', 'dx'), ['bx']);
  assert.deepEqual(means('[!a-c]x', 'bx', 'dx'), ['dx']);
  assert.deepEqual(means('[]x]', ']', 'x', 'y'), [']', 'x']);
  assert.deepEqual(means('a\\*b', 'a*b', 'axb'), ['a*b']);
  assert.deepEqual(means('a+(b).$', 'a+(b).$', 'aab'), ['a+(b).$']);
  assert.deepEqual(means('ü*', 'über', 'uber'), ['über']);
});

test('takes no pattern for a program: any of them answers', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 30 }), fc.string({ maxLength: 20 }), (pattern, name) => {
      assert.equal(typeof patternOf(pattern)(name), 'boolean');
    }),
  );
});

test('draws a line that fits, whatever the name', () => {
  const drawn = { name: 'x'.repeat(300), bytes: 512, size: 1024, ms: 1_000, columns: 60, over: false };
  assert.equal(line(drawn).length, 60 - 1);
  assert.match(line(drawn), /…\s+50%\s+512B\s+512B\/s 00:01$/);
  assert.match(line({ ...drawn, name: 'n', bytes: 1024, over: true }), /^n +100% +1\.0KB +1\.0KB\/s 00:01$/);
});

describe('the copy of one file', () => {
  const facts: FileFacts = { kind: 'file', size: 0, mode: 0o600, atime: 1, mtime: 2 };

  /** A source that answers late and short, as a server may. */
  function source(bytes: Buffer, seed: number) {
    let n = seed;
    return {
      read: async (offset: number, length: number) => {
        n = (n * 1_103_515_245 + 12_345) % 2 ** 31;
        for (let turns = n % 4; turns > 0; turns--) await new Promise(setImmediate);
        return bytes.subarray(offset, Math.min(offset + length, offset + 1 + (n % length)));
      },
      close: async () => {},
    };
  }

  test('arrives whole, however late and in what pieces it comes, whatever its size was said to be', async () => {
    const property = fc.asyncProperty(fc.nat(3_000), fc.nat(), fc.nat(3), async (size, seed, said) => {
      const bytes = Buffer.from(Array.from({ length: size }, (_, i) => (i * 31 + seed) % 256));
      const arrived = Buffer.alloc(size + 100);
      let finished = -1;
      let moved = 0;
      await copyFile({
        source: source(bytes, seed),
        sink: {
          write: async (offset, piece) => void piece.copy(arrived, offset),
          finish: async (length) => {
            finished = length;
          },
          close: async () => {},
        },
        facts: { ...facts, size: [size, 0, size + 50, size][said] ?? size },
        pieceBytes: 64,
        preserve: false,
        moved: (n) => {
          moved += n;
        },
      });
      assert.equal(finished, size);
      assert.equal(moved, size);
      assert.ok(arrived.subarray(0, size).equals(bytes));
    });
    await fc.assert(property, { numRuns: 100 });
  });

  test('goes on early enough to fill what an interrupted copy left out', () => {
    assert.equal(resumePoint(0, 100), 0);
    assert.equal(resumePoint(3_199, 100), 0);
    assert.equal(resumePoint(3_300, 100), 100);
    assert.equal(resumePoint(10_050, 100), 6_800);
  });

  test('fails as its first piece did, and finishes nothing', async () => {
    const copied = copyFile({
      source: source(Buffer.alloc(10_000), 1),
      sink: {
        write: async (offset) => {
          if (offset > 5_000) throw new AppError('unavailable', 'x.full', 'No space left on device');
        },
        finish: async () => assert.fail('finished'),
        close: async () => {},
      },
      facts: { ...facts, size: 10_000 },
      pieceBytes: 64,
      preserve: false,
      moved: () => {},
    });
    await assert.rejects(copied, { code: 'x.full' });
  });
});
