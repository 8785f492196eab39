// Bulk through Node leaves a buffer of 32 to 64 KiB behind for each packet: outside V8's heap, owned by a few bytes in
// it. V8 collects its young generation when those bytes have filled it, which is hundreds of megabytes of buffers too
// late: long before, their sum makes it collect the whole heap, 160 times a gigabyte and with the most part of the CPU
// that a transfer takes (10 s of it a GB on a busy machine, 4 s with this). So the young generation is collected when
// so much has passed: about a millisecond, as next to nothing in it is alive.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const STEP_BYTES = 8 * 1024 * 1024;

type Collect = (options: { type: 'minor' }) => void;

/** undefined: this Node does not say how; then it takes longer. */
let collect: Collect | undefined | null = null;
let passed = 0;

function findCollect(): Collect | undefined {
  try {
    setFlagsFromString('--expose-gc');
    const found: unknown = runInNewContext('gc');
    setFlagsFromString('--no-expose-gc');
    return typeof found === 'function' ? (found as Collect) : undefined;
  } catch {
    return undefined;
  }
}

/** So many bytes of bulk have been through buffers that nobody needs any more. */
export function bulkPassed(bytes: number): void {
  passed += bytes;
  if (passed < STEP_BYTES) return;
  passed = 0;
  if (collect === null) collect = findCollect();
  collect?.({ type: 'minor' });
}
