// Finds the recorder of this data directory or starts it. The recorder outlives the daemon on purpose: a
// daemon that restarts connects to the living one and its sessions have no gap. One of another build with the same
// layouts makes way for the program on disk, which goes on with its sessions; one of other layouts that watches sessions
// stays beside ours until they have ended.
import { spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { access, mkdir, open, readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { RecorderClient } from './recorder-client.ts';
import { RecorderError } from './recorder-error.ts';
import { WIRE_HASH } from './wire.gen.ts';

export interface StartOptions {
  /** Path of the recorder program. */
  readonly binary: string;
  readonly socketPath: string;
  readonly spoolDir: string;
  /** Size of the kernel's ring: a power of two, at least a page. */
  readonly ringBytes: number;
  /** File that gets what the recorder prints. */
  readonly log: string;
  /** For all of it: connecting, loading the programs, the hello. */
  readonly deadlineMs?: number;
  /** Further arguments, such as --pin-dir. */
  readonly args?: readonly string[];
  /**
   * How long somebody else has to start one, ms: a daemon that makes way for another leaves that to it. Asked when
   * there is none.
   */
  readonly patienceMs?: () => Promise<number>;
}

const pollMs = 20;

/** sun_path of unix(7), less its NUL. */
const maxSocketPathBytes = 107;

export async function startRecorder(options: StartOptions): Promise<RecorderClient> {
  if (Buffer.byteLength(options.socketPath) > maxSocketPathBytes) {
    throw new RecorderError(
      `the socket path is longer than ${maxSocketPathBytes} bytes: ${options.socketPath}`,
      {
        kind: 'bad_input',
        code: 'recorder_socket_path',
        hint: 'choose a shorter data_dir',
      },
    );
  }
  const deadline = Date.now() + (options.deadlineMs ?? 30_000);
  const patienceMs = (await options.patienceMs?.()) ?? 0;
  const beside = besideOptions(options);
  // Ours, if it had to be started beside one of other layouts.
  const second = await tryConnect(beside.socketPath, deadline);
  if (second) return patienceMs > 0 ? second : current(second, beside, deadline);
  const living =
    (await tryConnect(options.socketPath, deadline)) ??
    (await awaited(options.socketPath, patienceMs, deadline));
  if (living?.hello.wireHash === WIRE_HASH)
    return patienceMs > 0 ? living : current(living, options, deadline);
  if (living && !(await retires(living, options.socketPath, deadline)))
    return spawnRecorder(beside, deadline);
  return spawnRecorder(options, deadline);
}

/** Named for our layouts, so that it collides with none of others. */
function besideOptions(options: StartOptions): StartOptions {
  const name = WIRE_HASH.slice(0, 8);
  return {
    ...options,
    socketPath: options.socketPath.replace(/(\.sock)?$/, `-${name}$1`),
    args: [...(options.args ?? []), '--instance', `-${name}`],
  };
}

/** The one that lives; or, where it runs another program than the one on disk, its successor. */
async function current(
  living: RecorderClient,
  options: StartOptions,
  deadline: number,
): Promise<RecorderClient> {
  if (await runs(living.hello.pid, options.binary)) return living;
  try {
    await living.handOver();
  } catch {
    return living; // nothing of it is pinned: it is the only one that can go on
  }
  living.close();
  await hasEnded(living.hello.pid, deadline);
  return spawnRecorder(options, deadline);
}

/** By content: a package that was installed again is no other program. True where it cannot be told. */
async function runs(pid: number, binary: string): Promise<boolean> {
  try {
    const [running, onDisk] = await Promise.all([readFile(`/proc/${pid}/exe`), readFile(binary)]);
    return running.equals(onDisk);
  } catch {
    return true;
  }
}

async function hasEnded(pid: number, deadline: number): Promise<void> {
  while (Date.now() < deadline && (await isRunning(pid))) await delay(pollMs);
}

function isRunning(pid: number): Promise<boolean> {
  return access(`/proc/${pid}/exe`).then(
    () => true,
    () => false,
  );
}

async function awaited(
  socketPath: string,
  patienceMs: number,
  deadline: number,
): Promise<RecorderClient | undefined> {
  const until = Math.min(deadline, Date.now() + patienceMs);
  while (Date.now() < until) {
    const found = await tryConnect(socketPath, deadline);
    if (found) return found;
    await delay(pollMs);
  }
  return undefined;
}

/** Undefined when nobody listens. A peer that listens but does not speak the protocol is an error. */
async function tryConnect(socketPath: string, deadline: number): Promise<RecorderClient | undefined> {
  try {
    return await RecorderClient.connect({ socketPath, helloTimeoutMs: Math.max(1, deadline - Date.now()) });
  } catch (error) {
    if (error instanceof RecorderError && error.code === 'recorder_gone') return undefined;
    throw error;
  }
}

/** A recorder of other layouts gives way only when it watches nothing. False: it does. */
async function retires(old: RecorderClient, socketPath: string, deadline: number): Promise<boolean> {
  try {
    await old.shutdown();
  } catch (error) {
    if (error instanceof RecorderError && error.kind !== 'conflict') throw error;
    return false;
  } finally {
    old.close();
  }
  while (Date.now() < deadline) {
    const still = await tryConnect(socketPath, deadline);
    if (still === undefined) return true;
    still.close();
    await delay(pollMs);
  }
  throw notReady('the recorder of another version did not exit in time');
}

async function spawnRecorder(options: StartOptions, deadline: number): Promise<RecorderClient> {
  await access(options.binary, constants.X_OK).catch((cause: unknown) => {
    throw new RecorderError(`the recorder program is missing: ${options.binary}`, {
      kind: 'unavailable',
      code: 'recorder_missing',
      hint: 'build it with make',
      cause,
    });
  });
  await mkdir(options.spoolDir, { recursive: true, mode: 0o700 });
  const { exited, end } = launch(options);
  for (;;) {
    const client = await tryConnect(options.socketPath, deadline);
    if (client?.hello.wireHash === WIRE_HASH) return client;
    if (client) {
      // Nobody would speak to it; one that took over sessions of before refuses, and goes on recording them.
      await client.shutdown().catch(() => undefined);
      client.close();
      throw new RecorderError('the recorder program is of another version than this daemon', {
        kind: 'conflict',
        code: 'recorder_version',
        hint: `build ${options.binary} again`,
      });
    }
    const failure = await Promise.race([exited, delay(pollMs)]);
    // One that found another already listening exits too: whoever listens then is as good.
    if (failure !== undefined) {
      const other = await tryConnect(options.socketPath, deadline);
      if (other?.hello.wireHash === WIRE_HASH) return other;
      other?.close();
      throw notReady(`the recorder ended at once (${failure})`, await lastWords(options.log));
    }
    if (Date.now() > deadline) {
      end();
      throw notReady('the recorder did not come up in time', await lastWords(options.log));
    }
  }
}

interface Launched {
  readonly exited: Promise<string>;
  /** Asks it to go; one that watches a session stays. */
  end(): void;
}

/** Own session, no descriptor of ours, so that no signal or hang-up of the daemon reaches it. */
function launch(options: StartOptions): Launched {
  const log = openSync(options.log, 'a', 0o600);
  const child = spawn(
    options.binary,
    [
      // Node makes it a session leader already, and learns of an early exit.
      '--foreground',
      ...['--socket', options.socketPath],
      ...['--spool', options.spoolDir],
      ...['--ring-bytes', String(options.ringBytes)],
      ...(options.args ?? []),
    ],
    // For ps: the path may be one of /proc.
    { argv0: 'recorder', detached: true, stdio: ['ignore', log, log], cwd: '/' },
  );
  closeSync(log);
  child.unref();
  const exited = new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('exit', (code, signal) => resolve(signal ?? `exit ${code}`));
  });
  return { exited, end: () => void child.kill() };
}

function notReady(message: string, log = ''): RecorderError {
  return new RecorderError(log === '' ? message : `${message}: ${log}`, {
    kind: 'unavailable',
    code: 'recorder_failed',
    hint: 'teleport doctor shows what this host is missing',
  });
}

/** The end of the log, where a program that gave up said why. */
async function lastWords(log: string): Promise<string> {
  try {
    const file = await open(log);
    try {
      const { size } = await file.stat();
      const bytes = Buffer.alloc(Math.min(size, 2048));
      await file.read(bytes, 0, bytes.length, size - bytes.length);
      return bytes.toString('utf8').trim().split('\n').slice(-3).join('; ');
    } finally {
      await file.close();
    }
  } catch {
    return '';
  }
}
