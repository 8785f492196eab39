// The daemons of one data directory. While one takes over from another there are two or more, each a generation. A
// generation is known by boot, process and that process's start: nobody else can ever be it, and /proc says whether it
// lives. `<data_dir>/generations/<id>.json` tells the others of it; a file of one that died is only litter.
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface Generation {
  readonly id: string;
  readonly pid: number;
  readonly version: string;
  readonly started: string;
}

const suffix = '.json';

/** In this process: tests stop and start a service without leaving it. */
const living = new Set<string>();
let entered = 0;

export class Generations {
  readonly id: string;
  readonly #folder: string;
  readonly #started: string;

  private constructor(folder: string, { id, started }: Generation) {
    this.#folder = folder;
    this.id = id;
    this.#started = started;
  }

  /** From here on this process is one of them. */
  static async enter(dataDir: string, version: string): Promise<Generations> {
    const folder = join(dataDir, 'generations');
    await mkdir(folder, { recursive: true, mode: 0o700 });
    entered += 1;
    const id = `${bootId()}-${process.pid}-${startOf(process.pid) ?? 0}-${entered}`;
    const self: Generation = { id, pid: process.pid, version, started: new Date().toISOString() };
    const path = join(folder, `${id}${suffix}`);
    await writeFile(`${path}.next`, `${JSON.stringify(self)}\n`, { mode: 0o600 });
    await rename(`${path}.next`, path);
    living.add(id);
    return new Generations(folder, self);
  }

  /** False for one that left, died, or that nobody heard of. */
  readonly isLiving = (id: string | undefined): boolean => {
    const [boot, pid, start] = id?.split('-') ?? [];
    if (id === undefined || boot !== bootId()) return false;
    if (Number(pid) === process.pid) return living.has(id);
    return start !== undefined && startOf(Number(pid)) === Number(start);
  };

  /** The living but this one, oldest first. Clears away what the dead left. */
  async others(): Promise<Generation[]> {
    const found: Generation[] = [];
    for (const name of await readdir(this.#folder)) {
      const id = name.slice(0, -suffix.length);
      if (!name.endsWith(suffix) || id === this.id) continue;
      const path = join(this.#folder, name);
      const other = this.isLiving(id) ? parse(await readFile(path, 'utf8').catch(() => '')) : undefined;
      if (other !== undefined) found.push(other);
      else if (!this.isLiving(id)) await rm(path, { force: true });
    }
    return found.sort((a, b) => a.started.localeCompare(b.started));
  }

  /** The living that came after this one. */
  async newer(): Promise<Generation[]> {
    return (await this.others()).filter(({ started }) => started > this.#started);
  }

  /** As `newer`, at once: for a process that is on its way out. */
  hasNewer(): boolean {
    return readdirSync(this.#folder).some((name) => {
      const id = name.slice(0, -suffix.length);
      if (!name.endsWith(suffix) || id === this.id || !this.isLiving(id)) return false;
      const other = parse(readFileSync(join(this.#folder, name), 'utf8'));
      return other !== undefined && other.started > this.#started;
    });
  }

  async leave(): Promise<void> {
    living.delete(this.id);
    await rm(join(this.#folder, `${this.id}${suffix}`), { force: true });
  }
}

let boot: string | undefined;

/** The first part of it: enough to tell boots of one host apart. */
function bootId(): string {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8);
  return boot;
}

/** Clock ticks from boot to the process's start (proc(5), field 22); undefined: it is not alive. */
function startOf(pid: number): number | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the command in brackets and may hold anything, brackets and blanks too.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const [state] = fields;
    return state === 'Z' || state === 'X' ? undefined : Number(fields[19]);
  } catch {
    return undefined;
  }
}

function parse(text: string): Generation | undefined {
  try {
    return JSON.parse(text) as Generation;
  } catch {
    return undefined;
  }
}
