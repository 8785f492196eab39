// What must be seen by somebody ends with the daemon that lets them see it, however that dies: a shell of root's waits
// for the end of a pipe whose other end the daemon alone holds, and then kills the session's cgroup. Stopped or not,
// nothing of it waits for the next start, and nothing runs on with nobody watching.
import { type ChildProcess, spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';

/** The cgroup's files as $1 and $2: before Linux 5.14 there is only the second, and the next start has to kill. */
const script = 'read _; { echo 1 >"$1"; } 2>/dev/null || echo 1 >"$2"';

export class DeadMan {
  readonly #child: ChildProcess;
  #dismissed = false;

  private constructor(child: ChildProcess, gone: () => void) {
    this.#child = child;
    child.once('exit', () => {
      if (!this.#dismissed) gone();
    });
  }

  /** Resolves when it waits. `gone`: it does not any more, and nobody dismissed it. */
  static async watchOver(cgroupDir: string, gone: () => void): Promise<DeadMan> {
    const files = ['cgroup.kill', 'cgroup.freeze'].map((name) => join(cgroupDir, name));
    // Detached: what ends the daemon's group must not end this first.
    const child = spawn('/bin/sh', ['-c', script, 'sallyport-dead-man', ...files], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
      cwd: '/',
      env: {},
    });
    child.unref();
    if (child.stdin instanceof Socket) child.stdin.unref();
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (cause) => reject(cannotWatch(cause)));
    });
    // It was killed: its pipe breaks.
    child.stdin?.on('error', () => {});
    return new DeadMan(child, gone);
  }

  /** The session is over: nobody has to be killed for it. */
  dismiss(): void {
    this.#dismissed = true;
    this.#child.kill('SIGKILL');
    this.#child.stdin?.destroy();
  }
}

function cannotWatch(cause: unknown): AppError {
  return new AppError(
    'unavailable',
    'session.dead_man',
    'Nothing could be started that ends this session with the service.',
    { cause },
  );
}
