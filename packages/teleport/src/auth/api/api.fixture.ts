// For the tests of this room: a small route table with a handler for each thing that can happen, TLS material,
// and transports over real sockets.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
} from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { HttpAnswer, HttpRequest, Transport } from '@sallyport/contracts/api/client.ts';
import { route } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { z } from 'zod';
import type { ApiLog } from './api-log.ts';
import type { Handlers } from './handler.ts';
import type { CallerRules } from './rights.ts';

export const testRoutes = {
  hello: route({
    method: 'GET',
    path: '/v1/hello/:name',
    summary: 'Greets.',
    access: 'anyone',
    params: z.strictObject({ name: z.string().max(256) }),
    query: z.strictObject({ loud: z.enum(['true', 'false']).optional() }),
    result: z.strictObject({ hello: z.string(), caller: z.string() }),
  }),
  put: route({
    method: 'PUT',
    path: '/v1/things/:id',
    summary: 'Takes a body.',
    access: { host: ['node'], user: { resource: 'token', verb: 'create' } },
    params: z.strictObject({ id: z.string() }),
    body: z.strictObject({
      list: z.array(z.strictObject({ n: z.int() })).max(10),
      choice: z
        .union([z.strictObject({ a: z.string() }), z.strictObject({ b: z.strictObject({ c: z.int() }) })])
        .optional(),
    }),
    bodyLimit: 4096,
    result: z.strictObject({ count: z.int() }),
  }),
  fail: route({
    method: 'POST',
    path: '/v1/fail',
    summary: 'Fails as it is told.',
    access: { user: true },
    body: z.strictObject({ how: z.enum(['throw', 'reject', 'app', 'hang']) }),
    result: z.strictObject({}),
  }),
  logIn: route({
    method: 'POST',
    path: '/v1/log-in',
    summary: 'Slowed.',
    access: { host: ['proxy'] },
    rate: 'log_in',
    body: z.strictObject({ remote_addr: z.string() }),
    result: z.strictObject({}),
  }),
  count: route({
    method: 'GET',
    path: '/v1/count',
    summary: 'Counts.',
    access: { host: true },
    query: z.strictObject({
      to: z.string().regex(/^\d+$/).transform(Number),
      after: z.enum(['end', 'throw', 'quiet', 'refuse']),
    }),
    stream: true,
    result: z.discriminatedUnion('type', [
      z.strictObject({ type: z.literal('n'), n: z.int(), pad: z.string().optional() }),
      z.strictObject({ type: z.literal('alive') }),
    ]),
  }),
} as const;

export interface TestCounters {
  /** Sources of streams that are running. */
  sources: number;
  /** Lines they made. */
  lines: number;
  /** Signals of hanging calls that aborted. */
  aborted: number;
}

export function testHandlers(counters: TestCounters): Handlers<typeof testRoutes> {
  return {
    hello: async ({ params, query }, { caller }) => ({
      hello: query.loud === 'true' ? params.name.toUpperCase() : params.name,
      caller:
        caller.kind === 'admin' || caller.kind === 'user' ? `${caller.kind} ${caller.user}` : caller.kind,
    }),
    put: async ({ body }) => ({ count: body.list.length }),
    fail: ({ body }, { signal }) => {
      if (body.how === 'throw') throw new TypeError('secret detail');
      if (body.how === 'reject') return Promise.reject('not even an error');
      if (body.how === 'app')
        return Promise.reject(
          new AppError('conflict', 'test.taken', 'It is taken.', { hint: 'Take another.' }),
        );
      signal.addEventListener('abort', () => counters.aborted++);
      return new Promise(() => {});
    },
    logIn: async () => ({}),
    async *count({ query }, { signal }) {
      if (query.after === 'refuse') throw new AppError('not_found', 'test.none', 'There is none.');
      counters.sources++;
      try {
        for (let n = 0; n < query.to && !signal.aborted; n++) {
          counters.lines++;
          yield { type: 'n', n, pad: 'x'.repeat(1000) };
          if (n % 100 === 99) await new Promise((resolve) => setImmediate(resolve));
        }
        if (query.after === 'throw') throw new Error('broke in the middle');
        if (query.after === 'quiet' && !signal.aborted)
          await new Promise((resolve) => signal.addEventListener('abort', resolve));
      } finally {
        counters.sources--;
      }
    },
  };
}

/** Users whose roles include `editor` may everything; nobody is locked but mallory. */
export const testRules: CallerRules = {
  permits: async (caller) =>
    caller.kind === 'user' && caller.roles.includes('editor')
      ? { ok: true }
      : { ok: false, reason: 'No role allows it.' },
  admits: async (caller) =>
    caller.kind === 'user' && caller.user === 'mallory'
      ? { ok: false, reason: 'mallory is locked: left the company.' }
      : { ok: true },
};

export interface CollectedLog extends ApiLog {
  readonly errors: { readonly fields: Readonly<Record<string, unknown>>; readonly message: string }[];
}

export function collectedLog(): CollectedLog {
  const errors: CollectedLog['errors'] = [];
  const ignore = () => {};
  return {
    errors,
    debug: ignore,
    info: ignore,
    warn: ignore,
    error: (fields, message) => void errors.push({ fields: { ...fields }, message }),
  };
}

/** Over a socket file, or over TLS with these options. `close` lets go of the kept connections. */
export function testTransport(
  to: { socketPath: string } | { host: string; port: number; tls: object },
): Transport & { close(): void } {
  const agent = 'tls' in to ? new Agent({ keepAlive: true }) : new HttpAgent({ keepAlive: true });
  const send = (options: object): ClientRequest =>
    'tls' in to
      ? httpsRequest({ ...options, ...to.tls, host: to.host, port: to.port, agent })
      : httpRequest({ ...options, socketPath: to.socketPath, agent });
  const transport = ({ method, path, headers, body, signal }: HttpRequest) =>
    new Promise<HttpAnswer>((resolve, reject) => {
      const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) };
      const request = send({ method, path, headers: { ...headers, ...length } });
      request.once('response', (answer) => resolve(answerOf(answer)));
      request.once('error', (cause) => {
        reject(new AppError('unavailable', 'test.unreachable', 'The peer cannot be reached.', { cause }));
      });
      signal?.addEventListener('abort', () => request.destroy());
      request.end(body);
    });
  return Object.assign(transport, { close: () => agent.destroy() });
}

function answerOf(answer: IncomingMessage): HttpAnswer {
  return {
    status: answer.statusCode ?? 0,
    header: (name) => answer.headers[name.toLowerCase()]?.toString(),
    text: async () => {
      const parts: Buffer[] = [];
      for await (const part of answer) parts.push(part as Buffer);
      return Buffer.concat(parts).toString('utf8');
    },
    async *lines() {
      let broken: Error | undefined;
      answer.once('error', (error) => {
        broken = error;
      });
      try {
        yield* createInterface({ input: answer });
      } finally {
        answer.destroy();
      }
      if (broken !== undefined || !answer.complete) throw broken ?? new Error('the stream broke');
    },
  };
}

export interface TestCertificates {
  readonly ca: string;
  readonly server: { readonly key: string; readonly cert: string };
  /** Common name → a client certificate of it: the same each time. */
  client(name: string): { readonly key: string; readonly cert: string };
  cleanUp(): void;
}

/** A throw-away authority made with the `openssl` program: nothing of ours checks itself here. */
export function testCertificates(): TestCertificates {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-api-tls-'));
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: dir, stdio: 'pipe' });
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl('req', '-x509', ...ec, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2', '-subj', '/CN=test ca');
  const leaf = (name: string) => {
    openssl('req', ...ec, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
    const by = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial'];
    openssl('x509', '-req', '-in', `${name}.csr`, ...by, '-out', `${name}.pem`, '-days', '2');
    return {
      key: readFileSync(join(dir, `${name}.key`), 'utf8'),
      cert: readFileSync(join(dir, `${name}.pem`), 'utf8'),
    };
  };
  // Two programs and a key each: made once for whoever asks again.
  const made = new Map<string, TestCertificates['server']>();
  const client = (name: string) => {
    const pair = made.get(name) ?? leaf(name);
    made.set(name, pair);
    return pair;
  };
  return {
    ca: readFileSync(join(dir, 'ca.pem'), 'utf8'),
    server: leaf('server'),
    client,
    cleanUp: () => rmSync(dir, { recursive: true }),
  };
}
