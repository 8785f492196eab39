// A node that makes events and sends them until it is killed. argv: its folder, the auth service's socket, number of
// the first event, `make` or `drain`. Prints how many events its outbox has promised to keep; with `drain` it makes
// none and ends when all are taken.
import { authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { createClient } from '@sallyport/contracts/api/client.ts';
import { aliceSid, bobSid, commandEvent } from '../../audit/event.fixture.ts';
import { Outbox } from '../../audit/outbox.ts';
import { drainOutbox } from '../../audit/outbox-drain.ts';
import { testTransport } from './api.fixture.ts';

const [dir = '', socketPath = '', from = '0', what = 'make'] = process.argv.slice(2);
const outbox = await Outbox.open({ dir, segmentBytes: 50_000, keepAcknowledgedBytes: 0 });
const client = createClient(authRoutes, testTransport({ socketPath }));
const stop = new AbortController();
const draining = drainOutbox(outbox, (batch, signal) => client.emitEvents({ body: batch }, { signal }), {
  signal: stop.signal,
  firstRetryMs: 10,
  lastRetryMs: 50,
});

// The events that survived the last kill count, promised or not.
const first = Math.max(Number(from), outbox.next);
if (what === 'make') {
  for (let n = first; ; n += 10) {
    const events = Array.from({ length: 10 }, (_, k) =>
      commandEvent(n + k, {
        sid: k % 2 === 0 ? aliceSid : bobSid,
        server_id: '1048a649-8f3f-4431-9529-0c53339b65a5',
      }),
    );
    await outbox.append(events);
    process.stdout.write(`${n + 10}\n`);
  }
}
while (outbox.stats.heldEvents > 0) await new Promise((resolve) => setTimeout(resolve, 5));
stop.abort();
await draining;
process.stdout.write(`${outbox.next}\n`);
process.exit(0);
