// `teleport configure`: a first teleport.yaml.
import { writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { AppError } from '@sallyport/contracts/errors.ts';
import { configTemplate } from '../../config/config-template.ts';
import { defaultConfigPath, loadConfig, loadConfigFile } from '../../config/load-config.ts';
import { notice, print } from '../output.ts';

export interface ConfigureFlags {
  readonly clusterName?: string;
  readonly nodename?: string;
  readonly dataDir?: string;
  readonly output: string;
  readonly test?: string;
}

export async function configureAction(flags: ConfigureFlags): Promise<void> {
  if (flags.test !== undefined) return testFile(flags.test);
  const nodename = flags.nodename ?? (hostname() || 'localhost');
  const text = configTemplate({
    nodename,
    clusterName: flags.clusterName ?? nodename,
    dataDir: flags.dataDir ?? '/var/lib/teleport',
  });
  // A flag may hold what no file may; better said here than at the first start.
  loadConfig(text, 'the configuration made of these flags');
  if (flags.output === 'stdout') return print(text.trimEnd());
  const path = flags.output === 'file' ? defaultConfigPath : flags.output.replace(/^file:\/\//, '');
  await writeNew(path, text);
  notice(`Wrote ${path}. Next:\n  teleport doctor\n  teleport start -c ${path}`);
}

async function testFile(path: string): Promise<void> {
  const { warnings } = await loadConfigFile(path);
  for (const { line, column, message } of warnings) {
    notice(`${line === undefined ? path : `${path}:${line}:${column}`}: warning: ${message}`);
  }
  print(`${path} is valid.`);
}

/** Never over an existing file: it may be the only copy of somebody's configuration. */
async function writeNew(path: string, text: string): Promise<void> {
  try {
    // Join tokens may come to stand in it.
    await writeFile(path, text, { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') {
      throw new AppError('conflict', 'cli.file_exists', `${path} exists already and is left as it is.`, {
        cause: error,
        hint: 'Name another file with -o, or move that one away.',
      });
    }
    throw new AppError('unavailable', 'cli.cannot_write', `${path} cannot be written.`, {
      cause: error,
      hint: 'Check that the folder is there and that this user may write to it (root for /etc).',
    });
  }
}
