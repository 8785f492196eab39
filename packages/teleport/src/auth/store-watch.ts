// Being told of changes for as long as one wants, across the ends of a watch (a reader that fell behind, a connection
// to the database that was lost). After each gap the listener is called once: something may have changed meanwhile.
import { setTimeout as delay } from 'node:timers/promises';
import type { Store } from './store/store.ts';

const retryMs = 500;

/** `listener` must not throw. Returns how to stop. */
export function keepWatching(store: Store, prefixes: readonly string[], listener: () => void): () => void {
  const ending = new AbortController();
  void watch(store, prefixes, listener, ending.signal);
  return () => ending.abort();
}

async function watch(
  store: Store,
  prefixes: readonly string[],
  listener: () => void,
  signal: AbortSignal,
): Promise<void> {
  for (let first = true; !signal.aborted; first = false) {
    try {
      const changes = store.watch({ prefixes, signal });
      // What changed before this watch began.
      if (!first) listener();
      for await (const _ of changes) listener();
    } catch {
      // Begun anew below: whoever listens is told, and reads for themselves why it fails, if it does.
    }
    // Of a store that was closed, every watch ends at once.
    await delay(retryMs, undefined, { signal, ref: false }).catch(() => undefined);
  }
}
