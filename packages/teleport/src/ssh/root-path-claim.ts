// Whose the cgroups below a root_path are. Two agents on one host (two data directories) have one each; with one
// for both, each start of one would clear away what it takes for its own leftovers: the other's sessions.
//
// A claim is a file in /run that says the cgroup's inode: another mount of the hierarchy shows the same one. It
// holds while its daemon lives, and after it for as long as anything lives in the cgroup. Each daemon has one: of two
// generations of an agent either may end first.
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, realpath, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import { cgroup2Magic } from './cgroup.ts';

const registry = '/run/sallyport/root-paths';

interface Claim {
  readonly dataDir: string;
  /** `<cgroup_path><root_path>`, as the claiming daemon sees it. */
  readonly dir: string;
  /** Inode of that cgroup, then those of the cgroups above it. */
  readonly chain: readonly string[];
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: a pid alone comes round again. */
  readonly startTime: string;
  readonly bootId: string;
}

/** Rejects with `conflict` while another agent has this cgroup, one above it or one below it. */
export async function claimRootPath(
  cgroupPath: string,
  rootPath: string,
  dataDir: string,
): Promise<() => Promise<void>> {
  const dir = join(cgroupPath, rootPath);
  await makeFolder(dir, 0o755); // users may look at their own cgroup
  await makeFolder(registry, 0o700);
  const claim: Claim = {
    dataDir: await realpath(dataDir),
    dir,
    chain: await cgroupChain(dir),
    pid: process.pid,
    startTime: (await startTimeOf(process.pid)) ?? '',
    bootId: await bootId(),
  };
  const agent = createHash('sha256').update(claim.dataDir).digest('hex').slice(0, 8);
  const path = join(registry, `${claim.chain[0]}.${agent}.${claim.pid}.json`);
  // Written before the others are read: of two that start at the same moment at least one sees the other.
  await writeFile(`${path}.new`, JSON.stringify(claim), { mode: 0o600 });
  await rename(`${path}.new`, path);
  const holder = await otherHolder(claim);
  if (holder === undefined) return () => release(path, dir);
  await rm(path, { force: true });
  throw inUse(claim, holder);
}

async function makeFolder(path: string, mode: number): Promise<void> {
  await mkdir(path, { recursive: true, mode }).catch((cause: unknown) => {
    throw new AppError('unavailable', 'start.root_path', `${path} cannot be made.`, {
      hint: 'The service makes its cgroup, and notes in /run whose it is: both must be writable.',
      cause,
    });
  });
}

async function otherHolder(claim: Claim): Promise<Claim | undefined> {
  for (const name of await readdir(registry)) {
    const path = join(registry, name);
    const other = await readClaim(path);
    if (other === undefined) continue;
    // Our own agent's: its dead daemons' claims are ours now.
    const held = other.dataDir === claim.dataDir ? await isAlive(other) : await isHeld(other);
    if (!held) await rm(path, { force: true });
    else if (other.dataDir !== claim.dataDir && overlap(claim, other)) return other;
  }
  return undefined;
}

/** The same cgroup, or one inside the other. */
function overlap(one: Claim, other: Claim): boolean {
  const [a = '', b = ''] = [one.chain[0], other.chain[0]];
  return one.chain.includes(b) || other.chain.includes(a);
}

async function isHeld(claim: Claim): Promise<boolean> {
  return (await isAlive(claim)) || (claim.bootId === (await bootId()) && (await isPopulated(claim.dir)));
}

async function isAlive({ pid, startTime, bootId: boot }: Claim): Promise<boolean> {
  return boot === (await bootId()) && (await startTimeOf(pid)) === startTime;
}

/** What lingers is still ours. */
async function release(path: string, dir: string): Promise<void> {
  if (!(await isPopulated(dir))) await rm(path, { force: true });
}

async function readClaim(path: string): Promise<Claim | undefined> {
  try {
    const value = JSON.parse(await readFile(path, 'utf8')) as Partial<Claim>;
    return value.dataDir !== undefined && Array.isArray(value.chain) ? (value as Claim) : undefined;
  } catch {
    return undefined;
  }
}

/** From this cgroup up to where its mount ends. */
async function cgroupChain(dir: string): Promise<string[]> {
  const chain: string[] = [];
  for (let at = await realpath(dir); (await statfs(at)).type === cgroup2Magic; at = dirname(at))
    chain.push(String((await stat(at, { bigint: true })).ino));
  return chain;
}

async function isPopulated(dir: string): Promise<boolean> {
  const events = await readFile(join(dir, 'cgroup.events'), 'utf8').catch(() => '');
  return events.includes('populated 1');
}

async function startTimeOf(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  // The second field, the program's name, may hold blanks and parentheses.
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')[19];
}

async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

function inUse({ dir }: Claim, holder: Claim): AppError {
  const what = holder.dir === dir ? `The cgroup ${dir}` : `The cgroup ${dir} overlaps ${holder.dir}, which`;
  return new AppError(
    'conflict',
    'start.root_path_in_use',
    `${what} is another teleport's (data_dir ${holder.dataDir}, process ${holder.pid}).`,
    { hint: 'Give each agent on a host an ssh_service.enhanced_recording.root_path of its own.' },
  );
}
