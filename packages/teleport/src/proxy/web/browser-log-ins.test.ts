import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { UserCertificates } from '@sallyport/contracts/api/auth-routes.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { BrowserLogIns } from './browser-log-ins.ts';

const secret = 'known to the client alone';
const order = {
  sshPublicKey: 'ssh key',
  tlsPublicKey: 'tls key',
  ttlMs: undefined,
  user: 'ana',
  secretSha256: createHash('sha256').update(secret).digest('hex'),
  remoteAddr: '192.0.2.1',
};
const issued = (user: string) => ({ user }) as unknown as UserCertificates;
const forgotten = { kind: 'not_found', code: 'proxy.no_log_in' };

test('the result of a log-in goes once, to whoever knows the secret', async () => {
  const logIns = new BrowserLogIns({ pollMs: 20 });
  const { id, code } = logIns.begin(order);
  assert.match(code, /^[2-9A-HJ-NP-Z]{4}-[2-9A-HJ-NP-Z]{4}$/);
  assert.equal(await logIns.result(id, secret), undefined, 'nobody has logged in yet');
  let proven: unknown;
  await logIns.complete(id, async (given) => {
    proven = given;
    return issued('ana');
  });
  assert.deepEqual(proven, order, 'the keys are those of the beginning');
  await assert.rejects(logIns.result(id, 'a guess'), forgotten);
  assert.deepEqual(await logIns.result(id, secret), issued('ana'));
  await assert.rejects(logIns.result(id, secret), forgotten);
  assert.equal(logIns.count, 0);
});

test('a poll is answered as soon as the person has logged in', async () => {
  const logIns = new BrowserLogIns({ pollMs: 60_000 });
  const { id } = logIns.begin(order);
  const first = logIns.result(id, secret);
  const second = logIns.result(id, secret);
  assert.equal(await first, undefined, 'a second poll takes the place of the first');
  await logIns.complete(id, async () => issued('ana'));
  assert.deepEqual(await second, issued('ana'));
});

test('a mistake leaves the log-in open, a success closes it', async () => {
  const logIns = new BrowserLogIns();
  const { id } = logIns.begin(order);
  const wrong = new AppError('denied', 'auth.wrong_credentials', 'Wrong.');
  await assert.rejects(
    logIns.complete(id, async () => {
      throw wrong;
    }),
    wrong,
  );
  assert.equal(logIns.read(id).order.user, 'ana');
  const { promise, resolve } = Promise.withResolvers<UserCertificates>();
  const completing = logIns.complete(id, () => promise);
  await assert.rejects(
    logIns.complete(id, async () => issued('eve')),
    { kind: 'conflict' },
    'two at once',
  );
  resolve(issued('ana'));
  await completing;
  assert.throws(() => logIns.read(id), forgotten);
  await assert.rejects(
    logIns.complete(id, async () => issued('eve')),
    forgotten,
  );
  logIns.close();
});

test('log-ins run out, before they are completed and after', async () => {
  const logIns = new BrowserLogIns({ openMs: 30, doneMs: 30, pollMs: 1_000 });
  const open = logIns.begin(order);
  const done = logIns.begin(order);
  await logIns.complete(done.id, async () => issued('ana'));
  // The timers do not hold the process, the poll does.
  assert.equal(await logIns.result(open.id, secret), undefined, 'a waiting poll ends with its log-in');
  await assert.rejects(logIns.result(open.id, secret), forgotten);
  const deadline = Date.now() + 5_000;
  while (logIns.count > 0 && Date.now() < deadline) await new Promise((wake) => setTimeout(wake, 5));
  await assert.rejects(logIns.result(done.id, secret), forgotten);
});

test('so many wait at once in all, and so many of one address', () => {
  const logIns = new BrowserLogIns({ max: 3, maxPerAddress: 2 });
  logIns.begin(order);
  logIns.begin(order);
  assert.throws(() => logIns.begin(order), { kind: 'limit' });
  logIns.begin({ ...order, remoteAddr: '192.0.2.2' });
  assert.throws(() => logIns.begin({ ...order, remoteAddr: '192.0.2.3' }), { kind: 'limit' });
  logIns.close();
});
