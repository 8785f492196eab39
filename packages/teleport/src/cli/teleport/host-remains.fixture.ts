// What a node of a test may leave on the host: its recorder, that one's pins, the cgroups of its sessions and who
// lives in them. All bear the node's own names; nothing else is touched.
import { readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isAlive, until } from './until.fixture.ts';

const cgroups = '/sys/fs/cgroup/unified';

/** The recorder goes when it watches nothing; a test that left something watched does not get to keep it. */
export async function removeRecorders(dataDir: string): Promise<void> {
  for (const { pid, pins } of await recordersOf(join(dataDir, 'recorder.sock'))) {
    signal(pid, 'SIGTERM');
    const ended = () => !isAlive(pid);
    await until('the recorder has ended', ended, 5_000).catch(() => signal(pid, 'SIGKILL'));
    await until('the recorder has ended', ended);
    // Without a recorder they would hold its programs in the kernel for ever.
    if (pins?.startsWith('/sys/fs/bpf/')) await rm(pins, { recursive: true, force: true });
  }
}

export async function removeCgroups(rootPath: string): Promise<void> {
  const root = join(cgroups, rootPath);
  const entries = await readdir(root, { withFileTypes: true, recursive: true }).catch(() => undefined);
  if (entries === undefined) return;
  await writeFile(join(root, 'cgroup.kill'), '1');
  const empty = async () => !(await readFile(join(root, 'cgroup.events'), 'utf8')).includes('populated 1');
  await until('nobody lives in the cgroups', empty);
  const inside = entries.filter((each) => each.isDirectory()).map((each) => join(each.parentPath, each.name));
  // The deepest first.
  for (const each of inside.sort().reverse()) await rmdir(each);
  await rmdir(root);
}

async function recordersOf(socket: string): Promise<{ pid: number; pins: string | undefined }[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = pids.map(async (pid) => {
    const args = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
    if (args[args.indexOf('--socket') + 1] !== socket) return [];
    return [{ pid: Number(pid), pins: args[args.indexOf('--pin-dir') + 1] }];
  });
  return (await Promise.all(found)).flat();
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // Gone meanwhile.
  }
}
