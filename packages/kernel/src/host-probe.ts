// Looks at the host for host-support.ts. Changes nothing: what must be tried is tried in a child.
import { execFile } from 'node:child_process';
import { access, constants, readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { recorderBinary } from './binaries.ts';
import { evaluateHost, type HostCondition, type HostFacts } from './host-support.ts';
import type { Feature } from './recorder.ts';

/** Every condition of enhanced recording on this host; all `ok` when it may start. */
export async function preflight(binary = recorderBinary): Promise<readonly HostCondition[]> {
  return evaluateHost(await probeHost(binary));
}

export async function probeHost(binary = recorderBinary): Promise<HostFacts> {
  const effectiveUid = process.geteuid?.() ?? -1;
  const trial = effectiveUid === 0 ? await tryPrograms(binary) : notTried;
  return {
    arch: process.arch,
    kernelRelease: release(),
    effectiveUid,
    capabilities: capabilitiesIn(await textOf('/proc/self/status')),
    btf: await readable('/sys/kernel/btf/vmlinux'),
    cgroup2Mount: cgroup2MountIn(await textOf('/proc/self/mountinfo')),
    cgroup2Known: /\bcgroup2$/m.test(await textOf('/proc/filesystems')),
    audit: await auditState(),
    ...trial,
  };
}

/** The first cgroup v2 mount in the text of /proc/self/mountinfo (proc(5)). */
export function cgroup2MountIn(mountinfo: string): string | undefined {
  for (const line of mountinfo.split('\n')) {
    // Optional fields stand before the separator, so the file system type is found behind it.
    const [before = '', after = ''] = line.split(' - ');
    const mount = before.split(' ')[4];
    if (after.startsWith('cgroup2 ') && mount !== undefined) return unescapeMount(mount);
  }
  return undefined;
}

/** Blanks, tabs, newlines and backslashes stand as three octal digits. */
function unescapeMount(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

export function capabilitiesIn(status: string): bigint | undefined {
  const hex = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return hex === undefined ? undefined : BigInt(`0x${hex}`);
}

/** A child of ours sets its own loginuid: what the launcher will do, harmless to us. */
async function auditState(): Promise<HostFacts['audit']> {
  if (!(await readable('/proc/self/sessionid'))) return 'absent';
  const { ok } = await run('/bin/sh', ['-c', 'echo 0 >/proc/self/loginuid']);
  return ok ? 'settable' : 'immutable';
}

type Trial = Pick<HostFacts, 'bpfSyscall' | 'features'>;
const notTried: Trial = { bpfSyscall: 'unknown', features: undefined };

/** `recorder --probe` attaches every program for an instant and prints a JSON line each. */
async function tryPrograms(binary: string): Promise<Trial> {
  return trialIn((await run(binary, ['--probe'])).stdout);
}

/** The feature that a program of session.bpf.c serves. */
const featureOf: Readonly<Record<string, Feature>> = {
  on_exec: 'exec',
  on_exit: 'exit',
  on_task_newtask: 'lineage',
  on_sys_exit: 'sys_exit',
  on_cgroup_attach_task: 'cgroup_attach',
  on_sock_state: 'sock_state',
  on_connect4: 'connect4',
  on_connect6: 'connect6',
  on_sendmsg4: 'sendmsg4',
  on_sendmsg6: 'sendmsg6',
};

/** Nothing attached, not even the simplest program: bpf(2) itself is refused. */
export function trialIn(probeOutput: string): Trial {
  const tried = probeOutput.split('\n').flatMap((line) => parseLine(line) ?? []);
  if (tried.length === 0) return notTried;
  if (tried.every(({ ok }) => !ok)) return { bpfSyscall: 'denied', features: undefined };
  const features = tried.flatMap(({ program, ok }) => (ok && featureOf[program]) || []);
  return { bpfSyscall: 'allowed', features: new Set(features) };
}

function parseLine(line: string): { program: string; ok: boolean } | undefined {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== 'object' || value === null || !('program' in value)) return undefined;
    return { program: String(value.program), ok: 'ok' in value && value.ok === true };
  } catch {
    return undefined;
  }
}

async function textOf(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '');
}

async function readable(path: string): Promise<boolean> {
  return access(path, constants.R_OK).then(
    () => true,
    () => false,
  );
}

function run(file: string, args: readonly string[]): Promise<{ ok: boolean; stdout: string }> {
  return new Promise((resolve) => {
    execFile(file, args, { timeout: 20_000, maxBuffer: 1 << 20 }, (error, stdout) =>
      resolve({ ok: error === null, stdout }),
    );
  });
}
