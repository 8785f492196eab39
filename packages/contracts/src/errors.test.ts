import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AppError, describeError, exitCodes, httpStatuses } from './errors.ts';

describe('an AppError', () => {
  it('is shown with its hint and never with its cause', () => {
    const error = new AppError('unavailable', 'audit.disk_full', 'The disk is full.', {
      hint: 'Free some space.',
      cause: new Error('ENOSPC /secret/path'),
    });
    assert.equal(describeError(error), 'The disk is full.\nFree some space.');
    assert.equal(describeError(new AppError('denied', 'a.b', 'No.')), 'No.');
  });

  it('has no cause unless there is one', () => {
    assert.ok(!('cause' in new AppError('internal', 'a.b', 'x')));
  });

  it('stays itself when caught, and anything else becomes our own fault without its words', () => {
    const error = new AppError('conflict', 'a.b', 'x');
    assert.equal(AppError.from(error), error);
    const unexpected = AppError.from(new TypeError('secret'));
    assert.equal(unexpected.kind, 'internal');
    assert.ok(!unexpected.message.includes('secret'));
    assert.equal((unexpected.cause as Error).message, 'secret');
  });

  it('gives each kind its own exit code, none of them success, and an HTTP error status', () => {
    const codes = Object.values(exitCodes);
    assert.equal(new Set(codes).size, codes.length);
    assert.ok(codes.every((code) => code > 0 && code < 126));
    assert.ok(Object.values(httpStatuses).every((status) => status >= 400 && status < 600));
  });
});
