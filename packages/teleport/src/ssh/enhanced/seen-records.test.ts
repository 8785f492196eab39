import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeenRecords } from './seen-records.ts';

test('a sequence number is seen once it was added, and its neighbours are not', () => {
  const seen = new SeenRecords();
  for (const seq of [1, 8, 70_001]) seen.add(seq);
  assert.deepEqual(
    [1, 2, 7, 8, 9, 70_000, 70_001, 70_002, 9_999_999].filter((seq) => seen.has(seq)),
    [1, 8, 70_001],
  );
});

test('adding twice counts once', () => {
  const seen = new SeenRecords();
  seen.add(5);
  seen.add(5);
  seen.addKey('lost');
  seen.addKey('lost');
  assert.equal(seen.size, 2);
});
