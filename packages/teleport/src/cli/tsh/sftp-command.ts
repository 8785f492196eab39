// `tsh sftp`: OpenSSH's own sftp, told by a configuration of its own how the node is reached. Its exit code is ours.
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import { nodeAddress } from './connect-node.ts';
import { parsePlace } from './copy/place.ts';
import { opensshConfig } from './openssh.ts';
import { requireProfile } from './profile.ts';
import { defaultLogin } from './ssh-command.ts';

export interface SftpFlags {
  readonly proxy?: string;
  readonly port: number;
  readonly batch?: string;
}

export async function sftpAction(target: string, flags: SftpFlags): Promise<void> {
  const profile = await requireProfile(flags.proxy);
  const place = parsePlace(target.includes(':') ? target : `${target}:`);
  if (!('remote' in place)) throw new AppError('bad_input', 'tsh.bad_host', `"${target}" names no node.`);
  const { login = defaultLogin(profile), node, path } = place.remote;
  const { host } = nodeAddress(node);
  const folder = await mkdtemp(join(tmpdir(), 'tsh-'));
  try {
    const config = join(folder, 'config');
    await writeFile(config, `${opensshConfig(profile, flags.port)}\n`, { mode: 0o600 });
    const batch = flags.batch === undefined ? [] : ['-b', flags.batch];
    const name = `${login}@${host}.${profile.cluster}`;
    process.exitCode = await runSftp(['-F', config, ...batch, path === '' ? name : `${name}:${path}`]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function runSftp(args: readonly string[]): Promise<number> {
  return new Promise((done, reject) => {
    const child = spawn('sftp', args, { stdio: 'inherit' });
    // Ctrl-C reaches it by the terminal, and means its command, not us.
    const ignore = () => {};
    process.on('SIGINT', ignore);
    child.once('error', (cause) => reject(noSftp(cause)));
    child.once('close', (code) => {
      process.off('SIGINT', ignore);
      done(code ?? 255);
    });
  });
}

function noSftp(cause: Error): AppError {
  return new AppError('unavailable', 'tsh.no_sftp', 'OpenSSH’s sftp is not installed here.', {
    hint: 'Install OpenSSH’s client, or use `tsh scp`.',
    cause,
  });
}
