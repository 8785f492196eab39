import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { aliceSid, commandEvent } from './event.fixture.ts';
import { EventStamp, kernelEventUid, SessionEmitter } from './session-emitter.ts';

const now = () => Date.UTC(2026, 0, 2, 3, 4, 5, 6);
const { ei: _ei, uid: _uid, time: _time, cluster_name: _cluster, ...draft } = commandEvent(0);

describe('the stamp of a session', () => {
  it('counts events and terminal output in one row', () => {
    const emitter = new SessionEmitter({ clusterName: 'purple', now, validate: true });
    assert.equal(emitter.stamp(draft).ei, 0);
    assert.equal(emitter.nextEi(), 1); // a print
    assert.equal(emitter.stamp(draft).ei, 2);
  });

  it('goes on counting where a session was before a restart', () => {
    assert.equal(new SessionEmitter({ clusterName: 'purple', firstEi: 42 }).stamp(draft).ei, 42);
  });

  it('fills id, time and cluster name, and leaves what the event brings', () => {
    const stamp = new EventStamp({ clusterName: 'purple', now, validate: true });
    const filled = stamp.stamp(draft);
    assert.equal(filled.time, '2026-01-02T03:04:05.006Z');
    assert.equal(filled.cluster_name, 'purple');
    assert.match(filled.uid, /^[0-9a-f-]{36}$/);
    const brought = stamp.stamp({
      ...draft,
      time: '2026-01-01T00:00:00.000Z',
      uid: kernelEventUid(aliceSid, 1),
      ei: 9,
    });
    assert.equal(brought.time, '2026-01-01T00:00:00.000Z');
    assert.equal(brought.uid, kernelEventUid(aliceSid, 1));
    assert.equal(brought.ei, 9);
  });

  it('refuses, where it validates, a field the contract does not know', () => {
    const stamp = new EventStamp({ clusterName: 'purple', validate: true });
    assert.throws(() => stamp.stamp({ ...draft, exitcode: 1 } as never), { code: 'audit.invalid_event' });
  });

  it('gives a kernel event the same id each time it is read, and another event another', () => {
    assert.equal(kernelEventUid(aliceSid, 5), kernelEventUid(aliceSid, 5));
    assert.notEqual(kernelEventUid(aliceSid, 5), kernelEventUid(aliceSid, 6));
  });
});
