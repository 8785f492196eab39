/** Commands and files inside of a Debian machine that is made of namespaces: those of one of its processes. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Host } from './network.ts';
import { type Ran, run } from './one-host.ts';

export abstract class DebianShell {
  readonly host: Host;

  protected constructor(host: Host) {
    this.host = host;
  }

  /** A process of the machine. */
  protected abstract get namespacesOf(): number;
  /** Flags of nsenter(1): which of that process's. */
  protected abstract readonly namespaces: readonly string[];

  /** In front of a command line: it runs there, as root, with nothing of our environment. */
  get enter(): readonly string[] {
    const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
    const environment = [`PATH=${path}`, 'HOME=/root', 'LC_ALL=C.UTF-8', 'TERM=dumb'];
    return ['nsenter', '-t', String(this.namespacesOf), ...this.namespaces, 'env', '-i', ...environment];
  }

  /** A line for its shell. */
  sh(line: string, options: { timeoutMs?: number; under?: readonly string[] } = {}): Promise<Ran> {
    const [file = '', ...args] = [
      ...this.enter,
      ...(options.under ?? []),
      ...['bash', '-o', 'pipefail', '-c', line],
    ];
    return run(file, args, options);
  }

  /** As `sh`, and it must succeed. What it says on either output. */
  async ok(line: string): Promise<string> {
    const { status, stdout, stderr } = await this.sh(line, { timeoutMs: 120_000 });
    if (status !== 0) throw new Error(`on ${this.host.name}: ${line}: ${status}\n${stdout}${stderr}`);
    return `${stdout}${stderr}`;
  }

  /** A file of it; empty when there is none. */
  read(path: string): string {
    try {
      return readFileSync(join(`/proc/${this.namespacesOf}/root`, path), 'utf8');
    } catch {
      return '';
    }
  }
}
