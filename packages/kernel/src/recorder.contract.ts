// What every Recorder does, whatever stands behind it. A suite calls this with a way to make one and a way
// to make a task that may be watched.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import type { Recorder, WatchRequest } from './recorder.ts';

export interface RecorderSubject {
  /** A connection of its own; the suite closes it. */
  connect(t: TestContext): Promise<Recorder>;
  /** A request for a live task that does nothing, cleaned up after the test. */
  request(t: TestContext): Promise<Omit<WatchRequest, 'sessionId'>>;
}

export function recorderContract(name: string, subject: RecorderSubject): void {
  const setUp = async (t: TestContext) => {
    const recorder = await subject.connect(t);
    t.after(() => recorder.close());
    const watch = async (sessionId: string) => recorder.watch({ ...(await subject.request(t)), sessionId });
    return { recorder, watch };
  };

  test(`${name}: a watched session is listed until it ends, with totals that add up`, async (t) => {
    const { recorder, watch } = await setUp(t);
    const sessionId = randomUUID();
    const { session } = await watch(sessionId);
    const listed = (await recorder.list()).find((each) => each.sessionId === sessionId);
    assert.equal(listed?.session, session);
    await recorder.totals(sessionId);
    const totals = await recorder.end(sessionId);
    for (const { emitted, recorded, lost } of Object.values(totals.kinds)) {
      assert.equal(emitted, recorded + lost);
    }
    assert.ok(!(await recorder.list()).some((each) => each.sessionId === sessionId));
  });

  test(`${name}: two sessions never share a reference`, async (t) => {
    const { recorder, watch } = await setUp(t);
    const ids = [randomUUID(), randomUUID()];
    const references = [];
    for (const id of ids) {
      references.push((await watch(id)).session);
      await recorder.end(id);
    }
    assert.notEqual(references[0], references[1]);
  });

  test(`${name}: the same session is not watched twice`, async (t) => {
    const { recorder, watch } = await setUp(t);
    const sessionId = randomUUID();
    await watch(sessionId);
    await assert.rejects(watch(sessionId), { name: 'RecorderError', kind: 'conflict' });
    await recorder.end(sessionId);
  });

  test(`${name}: a session nobody watches has no totals and no end`, async (t) => {
    const { recorder } = await setUp(t);
    await assert.rejects(recorder.totals(randomUUID()), { name: 'RecorderError', kind: 'not_found' });
    await assert.rejects(recorder.end(randomUUID()), { name: 'RecorderError', kind: 'not_found' });
  });

  test(`${name}: only a uuid names a session`, async (t) => {
    const { recorder, watch } = await setUp(t);
    for (const id of ['', '../../etc/passwd', randomUUID().toUpperCase()]) {
      await assert.rejects(watch(id), { name: 'RecorderError', kind: 'bad_input' });
      await assert.rejects(recorder.end(id), { name: 'RecorderError', kind: 'bad_input' });
    }
  });

  test(`${name}: after close it says so once and refuses every request`, async (t) => {
    const { recorder } = await setUp(t);
    const closed: unknown[] = [];
    recorder.on('closed', (error) => closed.push(error));
    recorder.close();
    recorder.close();
    assert.deepEqual(closed, [undefined]);
    await assert.rejects(recorder.stats(), { name: 'RecorderError', code: 'recorder_gone' });
    await assert.rejects(recorder.list(), { name: 'RecorderError', code: 'recorder_gone' });
  });
}
