import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type AuditEvent, parseEvent, sentence, serialize, serializeLine, textListField } from './event.ts';
import { seedSamples } from './seed-samples.fixture.ts';

const sample = JSON.parse(seedSamples[1] ?? '') as AuditEvent;
const hostile = fc.string({
  unit: fc.oneof(
    fc.constantFrom('\u001b', '\n', '\u009b', '\u202e', '\u2028', '\ud800', '"', '\\', '\0', ','),
    fc.string({ unit: 'binary' }),
  ),
});
/** Nothing in a key that JSON escapes, see below. */
const label = fc.string({ unit: fc.constantFrom('a', '.', '/', ',', 'é', '_') });
/** What a terminal or an editor would act on, were it in a line as it is. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is its purpose
const active = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]|\p{Surrogate}/u;

describe('serialize', () => {
  it('writes one line without anything a terminal would act on, and parsing gives back the same', () => {
    fc.assert(
      fc.property(hostile, fc.array(hostile), fc.dictionary(label, hostile), (path, argv, labels) => {
        const event = { ...sample, path, argv, server_labels: { ...labels } } as AuditEvent;
        const line = serialize(event);
        assert.doesNotMatch(line, active);
        assert.deepEqual(JSON.parse(line), JSON.parse(JSON.stringify(event)));
        const parsed = parseEvent(line);
        assert.ok(parsed.ok);
        assert.equal(serialize(parsed.event), line);
        assert.doesNotMatch(sentence(parsed.event), active);
      }),
    );
  });

  it('sorts keys at every depth, whatever their number and names', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.dictionary(fc.string({ unit: fc.constantFrom('a', 'b', '\0', 'é', '.', '_') }), fc.integer()),
          { maxLength: 5 },
        ),
        (objects) => {
          for (const inner of objects) {
            // Compared as text: JSON.parse of Node 24.21 (V8 13.6) mistakes one escaped key for another when it has
            // seen a similar object before.
            const fields = Object.keys(inner)
              .sort()
              .map((key) => `${JSON.stringify(key)}:${inner[key]}`);
            const text = `{${fields.join(',')}}`;
            assert.equal(serializeLine({ z: [inner], inner }), `{"inner":${text},"z":[${text}]}`);
          }
        },
      ),
    );
  });

  it('gives the same line whatever the order in which the fields were set', () => {
    const entries = Object.entries(sample);
    fc.assert(
      fc.property(fc.shuffledSubarray(entries, { minLength: entries.length }), (shuffled) => {
        assert.equal(serialize(Object.fromEntries(shuffled) as AuditEvent), seedSamples[1]);
      }),
    );
  });

  it('gives log and recording the very same line, and a changed copy one of its own', () => {
    const event = { ...sample };
    assert.equal(serialize(event), serialize(event));
    assert.notEqual(serialize({ ...event, cluster_name: 'another' }), serialize(event));
  });

  it('leaves out a field that is undefined', () => {
    assert.equal(serialize({ ...sample, cluster_name: undefined }), seedSamples[1]);
  });

  it('keeps an argument that is no UTF-8, and says so', () => {
    const event = { ...sample, ...textListField('argv', [Buffer.from([0xff, 0x41])]) } as AuditEvent;
    const parsed = parseEvent(serialize(event));
    assert.ok(parsed.ok && parsed.event.code === 'T4000I');
    assert.deepEqual(parsed.event.argv, ['\ufffdA']);
    assert.deepEqual(parsed.event.argv_bytes, ['/0E=']);
  });
});

describe('parseEvent', () => {
  it('keeps the fields of a newer version', () => {
    const line = serializeLine({ ...sample, zz_new: [1, { a: 2 }] });
    const parsed = parseEvent(line);
    assert.ok(parsed.ok);
    assert.equal(serialize(parsed.event), line);
  });

  it('tells what is not JSON, not known and not valid apart', () => {
    const reason = (line: string) => {
      const parsed = parseEvent(line);
      return parsed.ok ? 'ok' : parsed.reason;
    };
    assert.equal(reason('{"code":'), 'not_json');
    assert.equal(reason('null'), 'unknown_event');
    assert.equal(reason('{"code":"T9999I"}'), 'unknown_event');
    assert.equal(reason('{"code":"T4000W","event":"session.command"}'), 'unknown_event');
    assert.equal(reason(serializeLine({ ...sample, pid: '1' })), 'invalid');
    assert.equal(reason(serializeLine({ ...sample, sid: 'not-a-uuid' })), 'invalid');
    assert.equal(reason(serializeLine({ ...sample, event: 'session.disk' })), 'invalid');
  });

  it('never throws, whatever the line', () => {
    fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (line) => void parseEvent(line)));
  });
});
