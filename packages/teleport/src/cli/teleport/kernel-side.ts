// The kernel's half as the service holds it: may this host record, the recorder's start, and the end of both.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import { attendStranger } from '@sallyport/kernel/attend-stranger.ts';
import { recorderBinary } from '@sallyport/kernel/binaries.ts';
import { preflight, probeHost } from '@sallyport/kernel/host-probe.ts';
import { evaluateHost, type HostCondition } from '@sallyport/kernel/host-support.ts';
import { NoKernel } from '@sallyport/kernel/no-kernel.ts';
import { pinProgram } from '@sallyport/kernel/pinned-program.ts';
import type { RecorderClient } from '@sallyport/kernel/recorder-client.ts';
import { startRecorder } from '@sallyport/kernel/start-recorder.ts';
import { WIRE_HASH } from '@sallyport/kernel/wire.gen.ts';
import type { Config } from '../../config/config.ts';
import { ensureCgroupMount } from '../../ssh/cgroup.ts';
import { Gate } from '../../ssh/enhanced/gate.ts';
import { KernelMeter } from '../../ssh/enhanced/kernel-meter.ts';
import { RecorderLink } from '../../ssh/enhanced/recorder-link.ts';
import type { KernelSide } from '../../ssh/kernel-watch.ts';
import type { NodeLog } from '../../ssh/node-log.ts';
import { claimRootPath } from '../../ssh/root-path-claim.ts';
import type { Generations } from './generation/generations.ts';

export interface KernelOptions {
  readonly log: NodeLog;
  /** Path of the recorder program; default: the one built here. */
  readonly recorder?: string;
  /** How long a recorder that died may take to come back before its sessions count as unwatched, ms. */
  readonly recorderReturnMs?: number;
  readonly generations?: Pick<Generations, 'newer'>;
}

export interface OpenKernel {
  readonly side: KernelSide;
  /** Ends our connection, and the recorder too when it watches nothing. */
  close(): Promise<void>;
}

const defaultReturnMs = 10_000;
/** For a newer daemon to start the next recorder; less than the time after which sessions count as unwatched, ms. */
const successorMs = 6_000;
/** Between looks after a recorder that a daemon of another version left behind. */
const strangerMs = 30_000;
/** Spools read at once over all sessions. */
const spoolReaders = 4;

/** Where enhanced recording is off, a side that watches nothing: recovery still finishes old spools with it. */
export async function openKernel(config: Config, options: KernelOptions): Promise<OpenKernel> {
  const { enhancedRecording } = config.ssh;
  const spoolDir = join(config.dataDir, 'spool');
  const { cgroupPath, rootPath } = enhancedRecording;
  const returnDeadlineMs = options.recorderReturnMs ?? defaultReturnMs;
  if (enhancedRecording.enabled) await ensureCgroupMount(cgroupPath);
  const release = enhancedRecording.enabled
    ? await claimRootPath(cgroupPath, rootPath, config.dataDir)
    : undefined;
  let client: RecorderClient | undefined;
  const start = enhancedRecording.enabled
    ? async () => {
        client = await startRecorder({
          binary: options.recorder ?? pinProgram(recorderBinary),
          socketPath: join(config.dataDir, 'recorder.sock'),
          spoolDir,
          ringBytes: enhancedRecording.ringBytes,
          log: join(config.dataDir, 'recorder.log'),
          args: ['--cgroup-root', cgroupPath, '--pin-dir', pinDir(config.dataDir)],
          // A newer daemon replaces the recorder: we would bring the old program back.
          patienceMs: async () => ((await options.generations?.newer())?.length ? successorMs : 0),
        });
        return client;
      }
    : async () => new NoKernel();
  const link = await RecorderLink.open({ start, returnDeadlineMs, log: options.log }).catch((thrown) =>
    explainRecorder(options, thrown),
  );
  const ending = new AbortController();
  void attendStranger({
    socketPath: join(config.dataDir, 'recorder.sock'),
    lookMs: strangerMs,
    signal: ending.signal,
  });
  const { pid, features, ringSize, resumedSessions } = link.recorder?.hello ?? {};
  if (enhancedRecording.enabled)
    options.log.info(
      { pid, ring_bytes: ringSize, hooks: [...(features ?? [])].join(','), resumed: resumedSessions },
      'the kernel recorder runs',
    );
  return {
    side: { link, spoolDir, cgroupPath, rootPath, gate: new Gate(spoolReaders), meter: new KernelMeter() },
    close: async () => {
      ending.abort();
      link.closing();
      // Refused while it watches a session: that one is for the next start.
      await client?.shutdown().catch((err) => options.log.debug({ err }, 'the recorder stays'));
      link.close();
      await release?.();
    },
  };
}

/** Two daemons on a host (two data directories) have two recorders: neither may take the other's maps over. */
function pinDir(dataDir: string): string {
  const host = createHash('sha256').update(dataDir).digest('hex').slice(0, 12);
  // Of other layouts: those are another recorder's, which may live.
  return `/sys/fs/bpf/sallyport-${host}-${WIRE_HASH.slice(0, 8)}`;
}

/**
 * Refuses with every missing condition and its fix. Whether the programs load is not tried here: the recorder's
 * own start is the trial, and a recorder that lives already has passed it.
 */
export async function requireHostSupport(): Promise<void> {
  const facts = await probeHost(noTrial);
  refuseMissing(evaluateHost({ ...facts, bpfSyscall: 'allowed', features: undefined }));
}

/** A program that does not exist: probeHost tries nothing then. */
const noTrial = '/nonexistent';

/** The recorder did not start: if the host is why, that is what the operator is told. */
async function explainRecorder(options: KernelOptions, thrown: unknown): Promise<never> {
  refuseMissing(await preflight(options.recorder ?? recorderBinary));
  throw thrown;
}

function refuseMissing(conditions: readonly HostCondition[]): void {
  const missing = conditions.filter((condition) => !condition.ok);
  if (missing.length === 0) return;
  throw new AppError(
    'unsupported',
    'start.host_unsupported',
    `Enhanced session recording is enabled and this host cannot do it:\n${missing.map(conditionLine).join('\n')}`,
    {
      hint: 'Fix the host, or set ssh_service.enhanced_recording.enabled to false. `teleport doctor` shows more.',
    },
  );
}

function conditionLine({ name, found, needed, fix }: HostCondition): string {
  return `  ${name}: found ${found}, needed ${needed}. Fix: ${fix}.`;
}
