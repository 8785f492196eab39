// What a connection may forward and how much, with a relay that reaches nothing.
import assert from 'node:assert/strict';
import { type Duplex, PassThrough } from 'node:stream';
import { test } from 'node:test';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { ChannelAnswer } from '../../ssh-transport/connection.ts';
import {
  type DisplayEvent,
  Forwarding,
  type ForwardingEvent,
  type ForwardingOptions,
  type RelaySession,
} from './forwarding.ts';
import type { Arrival } from './relay.ts';
import type { DisplayCookie } from './relay-line.ts';

interface Made {
  readonly forwarding: Forwarding;
  readonly events: ForwardingEvent[];
  readonly agents: (string | undefined)[];
  readonly displays: DisplayEvent[];
  /** What xauth was told. */
  readonly cookies: DisplayCookie[];
  /** What the relay opened, oldest first. */
  readonly opened: Duplex[];
  readonly arrivals: Map<string, Arrival>;
  readonly sessions: { hungUp: boolean; end(): void }[];
}

function make(more: Partial<ForwardingOptions> & { relayFails?: AppError } = {}): Made {
  const made: Omit<Made, 'forwarding'> = {
    events: [],
    agents: [],
    displays: [],
    cookies: [],
    opened: [],
    arrivals: new Map(),
    sessions: [],
  };
  let port = 9_000;
  const startSession = (): RelaySession => {
    const over = Promise.withResolvers<void>();
    const session = { hungUp: false, end: over.resolve };
    made.sessions.push(session);
    const relay = {
      connect: async () => {
        const stream = new PassThrough();
        made.opened.push(stream);
        return stream;
      },
      authorise: async (cookie: DisplayCookie) => {
        if (cookie.cookie === '00') throw new AppError('unavailable', 'x', 'no xauth');
        made.cookies.push(cookie);
      },
      listen: async (place: { kind: string; path?: string }, arrival: Arrival) => {
        const places: Record<string, string> = { agent: '/tmp/agent', display: '10' };
        const where = place.path ?? places[place.kind] ?? String(++port);
        made.arrivals.set(where, arrival);
        return { where, close: () => void made.arrivals.delete(where) };
      },
    };
    return {
      facts: { sid: `sid-${made.sessions.length}` },
      counts: { tx: 0, rx: 0 },
      relay: more.relayFails ? Promise.reject(more.relayFails) : Promise.resolve(relay),
      over: over.promise,
      hangUp: () => {
        session.hungUp = true;
      },
    };
  };
  const forwarding = new Forwarding({
    refusesPorts: undefined,
    refusesAgent: undefined,
    refusesX11: undefined,
    firstDisplay: 10,
    startSession,
    port: (event) => made.events.push(event),
    agent: (error) => made.agents.push(error),
    display: (event) => made.displays.push(event),
    ...more,
  });
  return { ...made, forwarding };
}

const direct = ({ forwarding }: Made, port = 80): Promise<ChannelAnswer> =>
  Promise.resolve(
    forwarding.handler.directTcpip?.({
      destination: { host: 'db', port },
      originator: { host: '', port: 0 },
    }) ?? assert.fail(),
  );
const noChannel = async (): Promise<Duplex> => new PassThrough();
const kinds = ({ events }: Made) => events.map(({ kind, addr }) => `${kind} ${addr}`);

test('starts one relay for a connection, and only when something is forwarded', async () => {
  const made = make();
  assert.equal(made.sessions.length, 0);
  await direct(made);
  await direct(made);
  assert.equal(made.sessions.length, 1);
  assert.deepEqual(kinds(made), ['start db:80', 'start db:80']);
  assert.equal(made.events[0]?.sid, 'sid-1');
});

test('replaces a relay that ended, and hangs the last one up with the connection', async () => {
  const made = make();
  await direct(made);
  made.sessions[0]?.end();
  await new Promise(setImmediate);
  await direct(made);
  assert.deepEqual(
    made.sessions.map(({ hungUp }) => hungUp),
    [false, false],
  );
  made.forwarding.close();
  assert.equal(made.sessions[1]?.hungUp, true);
  assert.deepEqual(await direct(made), { refuse: 'connect-failed', text: 'The connection is closing.' });
  assert.equal(made.sessions.length, 2);
});

test('refuses what is not allowed, with the reason for the client and for the log, and starts nothing', async () => {
  const made = make({ refusesPorts: 'no ports', refusesAgent: 'no agent' });
  const { handler } = made.forwarding;
  assert.deepEqual(await direct(made), { refuse: 'prohibited', text: 'no ports' });
  assert.equal(await handler.remoteForward?.({ bind: { host: '', port: 0 }, open: noChannel }), false);
  assert.equal(await handler.remoteStreamlocalForward?.({ path: '/x', open: noChannel }), false);
  assert.equal(await made.forwarding.lendAgent(noChannel), undefined);
  assert.deepEqual(kinds(made), ['error db:80', 'error :0', 'error /x']);
  assert.deepEqual(made.agents, ['no agent']);
  assert.equal(made.sessions.length, 0);
});

test('tells why a relay did not start', async () => {
  const made = make({ relayFails: new AppError('unavailable', 'x.y', 'The kernel does not watch.') });
  const answer = await direct(made);
  assert.deepEqual(answer, { refuse: 'connect-failed', text: 'The kernel does not watch.' });
  assert.equal(made.events[0]?.error, 'The kernel does not watch.');
});

test('bounds the streams of a connection, and has room again when one has ended', async () => {
  const made = make();
  const answers = await Promise.all(Array.from({ length: 200 }, () => direct(made)));
  assert.deepEqual(await direct(made), {
    refuse: 'resources',
    text: 'This connection forwards as much as it may.',
  });
  const channel = new PassThrough();
  const [first] = answers;
  if (first && 'accept' in first) first.accept(channel);
  channel.destroy();
  await new Promise((resolve) => made.opened[0]?.once('close', resolve));
  await new Promise(setImmediate);
  assert.equal(kinds(made).at(-1), 'stop db:80');
  assert.ok('accept' in (await direct(made)));
});

test('bounds listeners, agents included, and stops the one that is cancelled by its answered port', async () => {
  const made = make();
  const { handler } = made.forwarding;
  const bind = { host: 'localhost', port: 0 };
  const port = Number(await handler.remoteForward?.({ bind, open: noChannel }));
  for (let i = 0; i < 22; i++)
    assert.equal(await handler.remoteStreamlocalForward?.({ path: `/s${i}`, open: noChannel }), true);
  assert.equal((await made.forwarding.lendAgent(noChannel))?.path, '/tmp/agent');
  assert.equal(await handler.remoteForward?.({ bind, open: noChannel }), false);
  assert.equal(await made.forwarding.lendAgent(noChannel), undefined);
  assert.equal(await handler.cancelRemoteForward?.({ host: 'localhost', port: 1 }), false);
  assert.equal(await handler.cancelRemoteForward?.({ host: 'localhost', port }), true);
  assert.equal(made.arrivals.has(String(port)), false);
  assert.ok(kinds(made).includes(`stop localhost:${port}`));
  assert.notEqual(await handler.remoteForward?.({ bind, open: noChannel }), false);
});

test('lets whoever comes to a listener go when the client does not take them', async () => {
  const made = make();
  const open = () => Promise.reject(new AppError('denied', 'ssh.channel_refused', 'no'));
  await made.forwarding.handler.remoteStreamlocalForward?.({ path: '/s', open });
  const stream = new PassThrough();
  made.arrivals.get('/s')?.(stream, { host: '', port: 0 });
  await new Promise((resolve) => stream.once('close', resolve));
  made.forwarding.close();
  assert.deepEqual(kinds(made), ['start /s', 'stop /s']);
});

const x11 = { singleConnection: false, protocol: 'MIT-MAGIC-COOKIE-1', cookie: 'c0ffee', screen: 2 };
const from = { host: '127.0.0.1', port: 40_000 };

test('lends a display: the cookie first, then its name, and connections go to the client', async () => {
  const made = make();
  const lent = await made.forwarding.lendDisplay(x11, noChannel);
  assert.equal(lent?.display, 'localhost:10.2');
  assert.deepEqual(made.cookies, [{ display: 'unix:10.2', protocol: x11.protocol, cookie: 'c0ffee' }]);
  assert.deepEqual(made.displays, [{ display: 'localhost:10.2', sid: 'sid-1' }]);
  let opened = 0;
  made.arrivals.get('10')?.(new PassThrough(), from);
  lent?.close();
  assert.equal(made.arrivals.has('10'), false);

  const once = await made.forwarding.lendDisplay({ ...x11, singleConnection: true }, async () => {
    opened += 1;
    return new PassThrough();
  });
  const second = new PassThrough();
  made.arrivals.get('10')?.(new PassThrough(), from);
  made.arrivals.get('10')?.(second, from);
  assert.equal(opened, 1);
  assert.equal(second.destroyed, true);
  once?.close();
});

test('lends no display that is refused, or whose cookie is not written, and lets go of its listener', async () => {
  const refused = make({ refusesX11: 'no role' });
  assert.equal(await refused.forwarding.lendDisplay(x11, noChannel), undefined);
  assert.deepEqual(refused.displays, [{ error: 'no role', sid: undefined }]);
  assert.equal(refused.sessions.length, 0);

  const unwritten = make();
  assert.equal(await unwritten.forwarding.lendDisplay({ ...x11, cookie: '00' }, noChannel), undefined);
  assert.deepEqual(unwritten.displays, [{ error: 'no xauth', sid: 'sid-1' }]);
  assert.equal(unwritten.arrivals.size, 0);
  // Its place is free again: 24 more are lent.
  for (let i = 0; i < 24; i++) assert.ok(await unwritten.forwarding.lendDisplay(x11, noChannel));
  assert.equal(await unwritten.forwarding.lendDisplay(x11, noChannel), undefined);
});
