import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { z } from 'zod';
import { catalog, checkEvent, entryOf, parseEvent, sentence, serialize } from './event.ts';
import { seedSamples } from './seed-samples.fixture.ts';
import { contractRows } from './wire-contract.fixture.ts';

const linesOf = (name: string) =>
  readFileSync(join(import.meta.dirname, name), 'utf8')
    .trimEnd()
    .split('\n');
const goldenLines = linesOf('golden-events.jsonl');
const sentences = new Map(
  linesOf('golden-sentences.tsv').map((line) => line.split('\t') as [string, string]),
);

function fieldsOf(code: string): string[] {
  const schema = entryOf(code)?.schema as z.ZodObject | undefined;
  return Object.keys(schema?.shape ?? {});
}

describe('the catalog', () => {
  it('has each code once, and a golden line for each in its own order', () => {
    assert.equal(new Set(catalog.map((entry) => entry.code)).size, catalog.length);
    assert.deepEqual(
      goldenLines.map((line) => JSON.parse(line).code),
      catalog.map((entry) => entry.code),
    );
  });

  it('has every event of the wire contract and none beside', () => {
    assert.deepEqual(
      catalog.map((entry) => `${entry.code} ${entry.event}`).sort(),
      contractRows.map(({ code, event }) => `${code} ${event}`).sort(),
    );
  });

  for (const { event, code, fields } of contractRows) {
    it(`gives ${event} ${code} the fields of the wire contract`, () => {
      const missing = fields.filter((field) => !fieldsOf(code).includes(field));
      assert.deepEqual(missing, []);
    });
  }
});

describe('a golden line', () => {
  for (const line of goldenLines) {
    const { event, code } = JSON.parse(line);
    it(`of ${event} ${code} is valid to the last field, comes out byte for byte and reads as a sentence`, () => {
      const strict = checkEvent(JSON.parse(line), 'writing');
      assert.ok(strict.ok, strict.ok ? '' : strict.detail);
      const parsed = parseEvent(line);
      assert.ok(parsed.ok);
      assert.equal(serialize(parsed.event), line);
      assert.equal(sentence(parsed.event), sentences.get(code));
    });
  }
});

describe('a sample of the documented system', () => {
  for (const [n, line] of seedSamples.entries()) {
    const { event, user } = JSON.parse(line);
    it(`(${n + 1}, ${event} of ${user}) is valid and comes out byte for byte`, () => {
      assert.deepEqual(checkEvent(JSON.parse(line), 'writing').ok, true);
      const parsed = parseEvent(line);
      assert.ok(parsed.ok);
      assert.equal(serialize(parsed.event), line);
    });
  }
});
