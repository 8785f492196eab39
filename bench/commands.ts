/** P15: how long our own commands take to answer, as a person waits for them: start of the process included. */
import { join } from 'node:path';
import { OneHost, repository, run } from '../e2e/one-host.ts';

export interface CommandFigures {
  /** Wall time, ms, of each run, after a first one that is not counted: it fills Node's compile cache. */
  readonly took: Readonly<Record<string, readonly number[]>>;
  /** Of `node -e 0`: nothing of ours starts faster. */
  readonly bareNode: readonly number[];
}

const bin = (name: string) => join(repository, 'packages/teleport/bin', name);

export async function measureCommands(times: number): Promise<CommandFigures> {
  const node = await OneHost.start();
  try {
    const commands: Record<string, readonly string[]> = {
      'tsh --help': [bin('tsh'), '--help'],
      'tctl --help': [bin('tctl'), '--help'],
      'tctl status': [bin('tctl'), '-c', node.configPath, 'status'],
      'node -e 0': [process.execPath, '-e', '0'],
    };
    const took: Record<string, number[]> = {};
    for (const name of Object.keys(commands)) took[name] = [];
    for (let i = 0; i <= times; i++) {
      for (const [name, [file = '', ...args]] of Object.entries(commands)) {
        const from = performance.now();
        const { status, stderr } = await run(file, args);
        if (status !== 0) throw new Error(`${name}: ${stderr}`);
        if (i > 0) took[name]?.push(performance.now() - from);
      }
    }
    const { 'node -e 0': bareNode = [], ...ours } = took;
    return { took: ours, bareNode };
  } finally {
    await node.stop();
  }
}
