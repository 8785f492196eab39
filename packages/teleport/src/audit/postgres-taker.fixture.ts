// An auth server as far as a host's events go: takes batches (a JSON line each on stdin) into the log on PostgreSQL,
// and answers the position expected next. `node postgres-taker.fixture.ts URI SCHEMA`. To be killed.
import { createInterface } from 'node:readline';
import type { AuditEvent } from '@sallyport/contracts/events/event.ts';
import { parsePostgresUri } from '../config/postgres-uri.ts';
import type { BatchPlace } from './audit-log.ts';
import { PostgresLog } from './postgres-log.ts';

const [uri = '', schema = ''] = process.argv.slice(2);
const parsed = parsePostgresUri(uri);
if (!parsed.ok) throw new Error(parsed.problem);
const log = await PostgresLog.open(parsed.address, { schema });
process.stdout.write('ready\n');
for await (const line of createInterface(process.stdin)) {
  const { place, events } = JSON.parse(line) as { place: BatchPlace; events: AuditEvent[] };
  process.stdout.write(`${await log.appendAt(place, events)}\n`);
}
await log.close();
