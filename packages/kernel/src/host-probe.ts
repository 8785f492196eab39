// Looks at the host for host-support.ts. Changes nothing: what must be tried is tried in a child.
import { execFile } from 'node:child_process';
import { access, constants, readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { recorderBinary } from './binaries.ts';
import { evaluateHost, type HostCondition, type HostFacts } from './host-support.ts';
import type { Feature } from './recorder.ts';
import { featureWords } from './wire-names.ts';

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

export function trialIn(probeOutput: string): Trial {
  const features = new Set<Feature>();
  let lines = 0;
  for (const line of probeOutput.split('\n')) {
    const { feature, ok } = parseLine(line);
    if (feature === undefined) continue;
    lines++;
    if (feature === 'bpf' && !ok) return { bpfSyscall: 'denied', features: undefined };
    const known = featureWords.find((word) => word === feature);
    if (known && ok) features.add(known);
  }
  return lines === 0 ? notTried : { bpfSyscall: 'allowed', features };
}

function parseLine(line: string): { feature?: string; ok: boolean } {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== 'object' || value === null || !('feature' in value)) return { ok: false };
    return { feature: String(value.feature), ok: 'ok' in value && value.ok === true };
  } catch {
    return { ok: false };
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
