import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type AuthRoutes, authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { type Client, createClient, type Transport } from '@sallyport/contracts/api/client.ts';
import { hostRoles, type Route, ruledResources, verbs } from '@sallyport/contracts/api/route.ts';
import fc from 'fast-check';
import { collectedLog, testRules, testTransport } from './api.fixture.ts';
import { type ApiServer, startApiServer } from './api-server.ts';
import { sampleHandlers, samples } from './auth-routes.fixture.ts';
import type { Caller } from './handler.ts';
import { inProcessTransport } from './in-process.ts';
import { refusal } from './rights.ts';

const names = Object.keys(samples) as (keyof AuthRoutes)[];
type AnyCall = (request: unknown) => Promise<unknown> | AsyncIterable<unknown>;

let dir: string;
let server: ApiServer;
let socket: ReturnType<typeof testTransport>;
let arrived: [string, unknown][] = [];
const log = collectedLog();
const handlers = sampleHandlers((name, request) => arrived.push([name, request]));

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'sallyport-routes-'));
  const socketPath = join(dir, 'auth.sock');
  const limits = { requestMs: 2_000 };
  const listen = { socketPath };
  server = await startApiServer({
    routes: authRoutes,
    handlers,
    rules: testRules,
    version: '1.0.0',
    log,
    limits,
    listen,
  });
  socket = testTransport({ socketPath });
});

after(async () => {
  socket.close();
  await server.close(0);
  await rm(dir, { recursive: true });
});

function transports(): readonly [string, Transport][] {
  const caller: Caller = { kind: 'admin', user: 'root' };
  return [
    ['over the socket', socket],
    ['in process', inProcessTransport({ routes: authRoutes, handlers, rules: testRules, caller, log })],
  ];
}

async function callOf(client: Client<AuthRoutes>, name: keyof AuthRoutes): Promise<unknown> {
  const answer = (client[name] as unknown as AnyCall)(samples[name].request);
  if (!(Symbol.asyncIterator in answer)) return await answer;
  const lines: unknown[] = [];
  for await (const line of answer) lines.push(line);
  return lines;
}

describe('the typed client of the auth service', () => {
  for (const name of names) {
    it(`calls ${name} over the wire and in process, alike`, async () => {
      const seen: unknown[] = [];
      for (const [how, transport] of transports()) {
        arrived = [];
        assert.deepEqual(await callOf(createClient(authRoutes, transport), name), samples[name].answer, how);
        assert.equal(arrived.length, 1, how);
        seen.push(structuredClone(arrived[0]));
      }
      assert.deepEqual(JSON.parse(JSON.stringify(seen[0])), JSON.parse(JSON.stringify(seen[1])));
    });
  }

  it('hands over values that were text in the query, and names with any character', async () => {
    arrived = [];
    const client = createClient(authRoutes, socket);
    await client.searchEvents({ query: { limit: '5' } });
    await client.deleteResource({ params: { kind: 'token', name: 'a/b c%?#ü' } });
    const [search, remove] = arrived.map(
      ([, request]) => request as { query: { limit: number }; params: { name: string } },
    );
    assert.equal(search?.query.limit, 5);
    assert.equal(remove?.params.name, 'a/b c%?#ü');
  });
});

describe('the rights to call', () => {
  const routes: readonly Route[] = Object.values(authRoutes);
  const route = fc.constantFrom(...routes);
  const user: Caller = { kind: 'user', user: 'alice', roles: [], traits: {} };
  const never = { permits: async () => ({ ok: false, reason: 'No.' }) as const };

  it('are everything for the administrator', async () => {
    for (const { access } of routes)
      assert.equal(await refusal(access, { kind: 'admin', user: 'root' }, never), undefined);
  });

  it('are only what anyone may, for whoever has no certificate', async () => {
    for (const { access } of routes)
      assert.equal((await refusal(access, { kind: 'anyone' }, never)) === undefined, access === 'anyone');
  });

  it('never come from a role the route does not name', async () => {
    const roles = fc.uniqueArray(fc.constantFrom(...hostRoles));
    await fc.assert(
      fc.asyncProperty(route, roles, async ({ access }, has) => {
        const refused = await refusal(access, { kind: 'host', hostUuid: 'x', roles: has }, never);
        const wanted = access === 'anyone' ? true : access.host;
        const may = wanted === true || (wanted ?? []).some((role) => has.includes(role));
        assert.equal(refused === undefined, may);
      }),
    );
  });

  it('of a user are exactly what the rules say, asked for the resource and verb of the route', async () => {
    const rule = fc.record({ resource: fc.constantFrom(...ruledResources), verb: fc.constantFrom(...verbs) });
    await fc.assert(
      fc.asyncProperty(route, rule, async ({ access }, allowed) => {
        const refused = await refusal(access, user, {
          permits: async (_, resource, verb) =>
            resource === allowed.resource && verb === allowed.verb
              ? { ok: true }
              : { ok: false, reason: 'No.' },
        });
        const wanted = access === 'anyone' ? true : access.user;
        const may =
          wanted === true || (wanted?.resource === allowed.resource && wanted.verb === allowed.verb);
        assert.equal(refused === undefined, may);
      }),
    );
  });
});

/** A part of a valid request replaced, removed or added to, anywhere in it. */
function mutated(value: unknown): fc.Arbitrary<unknown> {
  const anything = fc.oneof(
    fc.jsonValue(),
    fc.anything({ withBigInt: false, maxDepth: 2 }),
    fc.string({ unit: 'binary' }),
  );
  if (typeof value !== 'object' || value === null) return anything;
  const entries = Object.entries(value);
  if (entries.length === 0) return anything;
  return fc.nat(entries.length - 1).chain((n) => {
    const [key = '', old] = entries[n] ?? [];
    const put = (change: unknown) =>
      Array.isArray(value) ? value.with(n, change) : { ...value, [key]: change };
    return fc.oneof(
      mutated(old).map(put),
      anything.map(put),
      fc
        .dictionary(fc.string(), anything, { maxKeys: 2 })
        .map((more) => (Array.isArray(value) ? value : { ...value, ...more })),
    );
  });
}

describe('whatever is sent to the API', () => {
  const answered = async (method: string, path: string, body: string | undefined) => {
    const headers: Record<string, string> = body === undefined ? {} : { 'content-type': 'application/json' };
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error('no answer in 5 s')), 5_000);
    });
    const answer = await Promise.race([socket({ method, path, headers, body, signal: undefined }), late]);
    const text = await answer.text();
    clearTimeout(timer);
    assert.notEqual(answer.status, 500, text);
    if (answer.status !== 200) {
      const { error } = JSON.parse(text);
      assert.equal(typeof error.message, 'string');
      assert.ok(error.message.length < 1_000);
      assert.doesNotMatch(error.message, /[\p{Cc}\u2028\u202e]/u);
      assert.match(error.request_id, /^[0-9a-f-]{36}$/);
    }
    return answer.status;
  };
  const pathOf = (route: Route, params: Readonly<Record<string, unknown>>) =>
    route.path.replace(/:([A-Za-z]+)/g, (_, name: string) =>
      encodeURIComponent(String(params[name] ?? '').toWellFormed()),
    );

  it('in a body: never a fault of ours, never silence', async () => {
    const withBody = names.filter((name) => 'body' in (samples[name].request as object));
    const sent = fc.constantFrom(...withBody).chain((name) => {
      const { request } = samples[name] as { request: { params?: Record<string, string>; body: unknown } };
      const bodies = fc.oneof(
        mutated(request.body).map((body) => JSON.stringify(body) ?? 'null'),
        fc.string({ unit: 'binary', maxLength: 200 }),
      );
      return bodies.map((body) => ({ route: authRoutes[name] as Route, params: request.params ?? {}, body }));
    });
    await fc.assert(
      fc.asyncProperty(sent, async ({ route, params, body }) => {
        await answered(route.method, pathOf(route, params), body);
      }),
      { numRuns: 500 },
    );
    assert.deepEqual(log.errors, []);
  });

  it('in a path or a query: never a fault of ours, never silence', async () => {
    const text = fc.oneof(
      fc.string({ maxLength: 30 }),
      fc.string({ unit: 'binary', maxLength: 30 }),
      fc.constantFrom('__proto__', '..', 'true', '-1', '%00'),
    );
    const query = fc.array(
      fc.tuple(fc.oneof(text, fc.constantFrom('limit', 'from', 'secrets', 'kinds')), text),
      { maxLength: 4 },
    );
    const raw = fc
      .string({ unit: fc.constantFrom(...'/v1%:?&=#.;[]~%ff+ab0'), maxLength: 40 })
      .map((tail) => `/v1/${tail}`);
    const made = fc.record({ name: fc.constantFrom(...names), a: text, query }).map(({ name, a, query }) => {
      const route = authRoutes[name] as Route;
      const path = pathOf(route, { kind: 'role', name: a });
      const pairs = query.map(
        ([key, value]) =>
          `${encodeURIComponent(key.toWellFormed())}=${encodeURIComponent(value.toWellFormed())}`,
      );
      return { method: route.method, path: `${path}?${pairs.join('&')}` };
    });
    const sent = fc.oneof(
      made,
      fc.record({ method: fc.constantFrom('GET', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS'), path: raw }),
    );
    await fc.assert(
      fc.asyncProperty(sent, async ({ method, path }) => {
        if (method === 'HEAD') return;
        await answered(method, path, undefined);
      }),
      { numRuns: 500 },
    );
    assert.deepEqual(log.errors, []);
  });

  it('as bytes that are no HTTP: the connection ends and the others go on', async () => {
    const head = fc.constantFrom(
      '',
      'GET /v1/ping HTTP/1.1\r\n',
      'POST /v1/join HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n',
      'GET ',
    );
    await fc.assert(
      fc.asyncProperty(head, fc.uint8Array({ maxLength: 200 }), async (begin, rest) => {
        await new Promise<void>((resolve, reject) => {
          const { socketPath } = server.address as { socketPath: string };
          const peer = connect(socketPath)
            .on('error', () => {})
            .resume();
          const timer = setTimeout(() => reject(new Error('still open after 5 s')), 5_000);
          peer.once('close', () => {
            clearTimeout(timer);
            resolve();
          });
          peer.end(Buffer.concat([Buffer.from(begin), rest]));
        });
      }),
      { numRuns: 200 },
    );
    assert.equal(await answered('GET', '/v1/ping', undefined), 200);
    assert.deepEqual(log.errors, []);
  });
});
