// A recorder of other layouts that stayed behind for the sessions of a daemon of its version. That daemon ends them; when
// it was killed nobody does, and the recorder would watch for ever. So we look after it: a session whose last task has
// been gone for a while is ended, and a recorder that watches nothing is asked to go. What it wrote we cannot read.
import { setTimeout as delay } from 'node:timers/promises';
import { RecorderClient } from './recorder-client.ts';
import { WIRE_HASH } from './wire.gen.ts';

export interface StrangerOptions {
  readonly socketPath: string;
  /** Between two looks; its own daemon ends a session that is over long before the second one, ms. */
  readonly lookMs: number;
  readonly signal: AbortSignal;
}

/** Resolves when there is none (any more), or the signal aborts. Never rejects. */
export async function attendStranger({ socketPath, lookMs, signal }: StrangerOptions): Promise<void> {
  let over = new Set<string>();
  while (!signal.aborted) {
    const client = await RecorderClient.connect({ socketPath }).catch(() => undefined);
    if (client === undefined || client.hello.wireHash === WIRE_HASH) {
      client?.close();
      return;
    }
    over = await look(client, over).catch(() => over);
    client.close();
    await delay(lookMs, undefined, { signal, ref: false }).catch(() => {});
  }
}

/** Sessions that have no task left. */
async function look(client: RecorderClient, over: ReadonlySet<string>): Promise<Set<string>> {
  const sessions = await client.list();
  const idle = sessions.filter(({ liveTasks }) => liveTasks === 0).map(({ sessionId }) => sessionId);
  for (const sid of idle.filter((one) => over.has(one))) await client.end(sid);
  // Refused while it watches, and while its daemon lives.
  await client.shutdown().catch(() => {});
  return new Set(idle);
}
