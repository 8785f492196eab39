// Finishes the recordings that a crash left open. Run at start, before any session begins.
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import { isHalfMade } from './publish.ts';
import { RecordingLayout } from './recording-layout.ts';
import { TerminalRecording } from './terminal-recording.ts';

export interface RecoverOptions {
  readonly logDir: string;
  readonly hostId: string;
  /** Sessions that still live (their processes run on): their files are left for `TerminalRecording.resume`. */
  readonly except?: ReadonlySet<string>;
}

export interface Recovered {
  readonly finished: readonly string[];
  /** Left as they were; the next start tries again. */
  readonly failed: readonly { readonly sid: string; readonly error: AppError }[];
}

export async function recoverRecordings(options: RecoverOptions): Promise<Recovered> {
  const layout = new RecordingLayout(options.logDir, options.hostId);
  await removeHalfMade(layout);
  const finished: string[] = [];
  const failed: { sid: string; error: AppError }[] = [];
  for (const sid of await layout.liveSids()) {
    if (options.except?.has(sid) === true) continue;
    try {
      await finishLeftover(options, sid);
      finished.push(sid);
    } catch (thrown) {
      failed.push({ sid, error: AppError.from(thrown) });
    }
  }
  return { finished, failed };
}

async function finishLeftover(options: RecoverOptions, sid: string): Promise<void> {
  let ei = 0;
  const recording = await TerminalRecording.resume({ ...options, sid, nextEi: () => ei++ });
  ei = recording.lastEi + 1;
  await recording.finish();
}

async function removeHalfMade(layout: RecordingLayout): Promise<void> {
  const names = await readdir(layout.finishedDir).catch(() => []);
  for (const name of names.filter(isHalfMade)) await rm(join(layout.finishedDir, name), { force: true });
}
