import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createClient } from '@sallyport/contracts/api/client.ts';
import { collectedLog, testHandlers, testRoutes, testRules } from './api.fixture.ts';
import type { Caller } from './handler.ts';
import { inProcessTransport } from './in-process.ts';

function start(caller: Caller) {
  const counters = { sources: 0, lines: 0, aborted: 0 };
  const log = collectedLog();
  const options = { routes: testRoutes, handlers: testHandlers(counters), rules: testRules, caller, log };
  const transport = inProcessTransport(options);
  return { counters, log, transport, client: createClient(testRoutes, transport) };
}

const node: Caller = { kind: 'host', hostUuid: 'x', roles: ['node'] };
const proxy: Caller = { kind: 'host', hostUuid: 'x', roles: ['proxy'] };

describe('the API in the same process', () => {
  it('has the same rights, shapes and errors', async () => {
    const put = (caller: Caller, list: unknown) =>
      start(caller).client.put({ params: { id: 'a' }, body: { list: list as [] } });
    assert.deepEqual(await put(node, []), { count: 0 });
    await assert.rejects(put(proxy, []), { code: 'api.not_allowed' });
    await assert.rejects(put(node, [{ n: 'x' }]), {
      code: 'api.bad_request',
      message: /^body\.list\[0\]\.n: /,
    });
    const { transport } = start(node);
    const lost = await transport({
      method: 'GET',
      path: '/v9',
      headers: {},
      body: undefined,
      signal: undefined,
    });
    assert.equal(lost.status, 404);
  });

  it('tells nobody the detail of a fault, but the log', async () => {
    const { client, log } = start({ kind: 'admin', user: 'root' });
    await assert.rejects(client.fail({ body: { how: 'throw' } }), {
      kind: 'internal',
      message: 'An internal error occurred.',
    });
    assert.match(String(log.errors[0]?.fields['err']), /secret detail/);
  });

  it('lets go of a stream that is left, and of one whose signal aborts', async () => {
    const { client, counters } = start(node);
    for await (const _ of client.count({ query: { to: '1', after: 'quiet' } })) break;
    assert.equal(counters.sources, 0);
    const stop = new AbortController();
    const lines = client
      .count({ query: { to: '1', after: 'quiet' } }, { signal: stop.signal })
      [Symbol.asyncIterator]();
    await lines.next();
    const last = lines.next();
    stop.abort();
    assert.equal((await last).done, true);
    assert.equal(counters.sources, 0);
  });
});
