/** One cell of the matrix: its guest booted once, and what came out of it, decoded for the tests to judge. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { EventKind, KernelEvent, Totals } from '@sallyport/kernel/kernel-event.ts';
import { eventKinds } from '@sallyport/kernel/recorder.ts';
import { SpoolReader } from '@sallyport/kernel/spool.ts';
import { bootGuest, type Report } from './guest.ts';
import { guestImage } from './guest-image.ts';
import { installHostPackages } from './host-packages.ts';
import { type Cell, kernelOf } from './kernels.ts';

export interface Stage {
  readonly pid: number;
  /** As wait(2) gives it. */
  readonly status: number;
}

export interface SessionEvidence {
  readonly events: readonly KernelEvent[];
  /** Frames the reader could not make an event of: damage or an unknown layout. */
  readonly unreadable: readonly string[];
  readonly totals: ReadonlyMap<EventKind, Totals>;
  readonly lastSeq: number;
  /** Of the file, and as the recorder gave it. */
  readonly bytes: number;
  readonly spoolLength: number;
}

export interface CellRun {
  readonly report: Report;
  readonly release: string;
  /** What the session's program says it did, by the stage's name. */
  stage(name: string): Stage;
  session(name: 'evidence' | 'storm'): SessionEvidence;
  /** The one line of a topic. */
  line(topic: string): string;
}

export async function runCell(cell: Cell): Promise<CellRun> {
  await installHostPackages();
  const kernel = await kernelOf(cell);
  const image = await guestImage(cell.architecture);
  // A guest takes some 20 s on an idle machine; under other work it may take minutes.
  const report = await bootGuest({
    architecture: cell.architecture,
    image: kernel.image,
    initramfs: image,
    deadlineMs: 280_000,
    log: join(dirname(image), `console-${cell.kernel}.log`),
  });
  const failed = report.topics.get('failed');
  if (failed !== undefined) {
    const verifier = report.topics.get('verifier') ?? [];
    const said = report.topics.get('recorder') ?? [];
    throw new Error(
      `in the guest: ${failed.join('; ')}\n${said.join('\n')}\n${verifier.slice(-60).join('\n')}`,
    );
  }
  const stages = new Map<string, Stage>();
  for (const line of report.topics.get('did') ?? []) {
    const [name = '', pid, status] = line.split(' ');
    stages.set(name, { pid: Number(pid), status: Number(status) });
  }
  const sessions = new Map<string, SessionEvidence>();
  for (const name of ['evidence', 'storm']) sessions.set(name, await decodeSession(report, name));
  return {
    report,
    release: kernel.release,
    stage: (name) => present(stages.get(name), `stage ${name}`),
    session: (name) => present(sessions.get(name), `session ${name}`),
    line: (topic) => present(report.topics.get(topic)?.[0], `line ${topic}`),
  };
}

function present<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Error(`the guest did not report ${what}`);
  return value;
}

async function decodeSession(report: Report, name: string): Promise<SessionEvidence> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-matrix-'));
  try {
    const path = join(folder, `${name}.spool`);
    const bytes = gunzipSync(present(report.files.get(name), `the spool of ${name}`));
    await writeFile(path, bytes);
    const reader = await SpoolReader.open(path);
    const events: KernelEvent[] = [];
    const unreadable: string[] = [];
    for await (const item of reader.read()) {
      if (item.type === 'event') events.push(item.event);
      else unreadable.push(JSON.stringify(item));
    }
    await reader.close();
    return { events, unreadable, bytes: bytes.length, ...totalsOf(report, name) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The totals as the recorder answered them, from `total` and `ended` lines. */
function totalsOf(report: Report, name: string) {
  const totals = new Map<EventKind, Totals>();
  for (const line of report.topics.get('total') ?? []) {
    const [session, kind, emitted, recorded, lost] = line.split(' ');
    const word = eventKinds[Number(kind)];
    if (session !== name || word === undefined) continue;
    totals.set(word, { emitted: Number(emitted), recorded: Number(recorded), lost: Number(lost) });
  }
  const ended = report.topics.get('ended')?.find((line) => line.startsWith(`${name} `));
  const [, lastSeq, spoolLength] =
    / lastSeq=(\d+) length=(\d+)/.exec(present(ended, `the end of ${name}`)) ?? [];
  return { totals, lastSeq: Number(lastSeq), spoolLength: Number(spoolLength) };
}
