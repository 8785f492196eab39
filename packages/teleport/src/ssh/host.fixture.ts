import { execFileSync } from 'node:child_process';
import { existsSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SessionCgroup } from './cgroup.ts';
import type { LaunchedSession, LaunchRequest, PtyRequest } from './launch.ts';

export const launcherBinary = fileURLToPath(new URL('../../../kernel/build/launcher', import.meta.url));

/** Any cgroup2 mount will do for tests; the configured default is made only where there is none. */
export const cgroupPath =
  ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'].find((path) => existsSync(`${path}/cgroup.procs`)) ??
  '/cgroup2';
export const rootPath = '/sallyport-test';

/** The reason to skip, or false. */
export function cannotLaunch(): string | false {
  if (process.getuid?.() !== 0) return 'needs root: the launcher changes identity';
  if (!existsSync(launcherBinary)) return 'the launcher is not built (make)';
  return false;
}

let cgroups = 0;
// Stays while another test file has cgroups in it; the last one takes it away.
process.on('exit', () => {
  try {
    rmdirSync(join(cgroupPath, rootPath));
  } catch {}
});

export function testCgroup(): Promise<SessionCgroup> {
  cgroups += 1;
  return SessionCgroup.create(cgroupPath, rootPath, `t${process.pid}-${cgroups}`);
}

export interface TestLogin {
  readonly name: string;
  readonly group: string;
  readonly home: string;
  remove(): void;
}

/** An unprivileged account that is in one group besides its own. */
export function createLogin(suffix: string): TestLogin {
  const name = `spt${process.pid}${suffix}`;
  const group = `${name}x`;
  const home = `/home/${name}`;
  execFileSync('groupadd', [group]);
  execFileSync('useradd', ['--create-home', '--shell', '/bin/bash', '--groups', group, name], {
    stdio: 'ignore',
  });
  const remove = (): void => {
    execFileSync('userdel', ['--force', '--remove', name], { stdio: 'ignore' });
    execFileSync('groupdel', [group], { stdio: 'ignore' });
  };
  return { name, group, home, remove };
}

export function request(login: string, more: Partial<LaunchRequest> = {}): LaunchRequest {
  return {
    launcher: launcherBinary,
    login,
    command: undefined,
    env: {},
    cgroupDir: undefined,
    pamService: undefined,
    remoteHost: '127.0.0.1',
    ...more,
  };
}

export function terminal(more: Partial<PtyRequest> = {}): PtyRequest {
  return { term: 'xterm', cols: 80, rows: 24, xpixel: 0, ypixel: 0, modes: Buffer.alloc(0), ...more };
}

/** All that a stream says until it ends. */
export async function textOf(stream: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** Lets a command run to its end without a terminal. */
export async function finish(session: LaunchedSession, input = '') {
  const { stdin, stdout, stderr } = session.pipes ?? missing('pipes');
  await session.go();
  stdin.end(input);
  const [out, err, exit] = await Promise.all([textOf(stdout), textOf(stderr), session.exited]);
  await session.closed;
  return { out, err, exit };
}

/** Lets a command (or what is typed into a shell) run to its end on a terminal. */
export async function finishOnTerminal(session: LaunchedSession, typed = '') {
  const { input, output } = session.terminal ?? missing('terminal');
  await session.go();
  input.write(typed);
  const [out, exit] = await Promise.all([textOf(output), session.exited]);
  await session.closed;
  return { out, exit };
}

function missing(what: string): never {
  throw new Error(`the session has no ${what}`);
}

/** Polls until the question is answered with something truthy; fails at the deadline. */
export async function eventually<T>(
  what: string,
  ask: () => T | Promise<T>,
  deadlineMs = 10_000,
): Promise<Exclude<T, false | undefined>> {
  const deadline = Date.now() + deadlineMs;
  for (;;) {
    const answer = await ask();
    if (answer) return answer as Exclude<T, false | undefined>;
    if (Date.now() > deadline) throw new Error(`did not happen in ${deadlineMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
