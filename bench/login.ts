/**
 * An account of the run's own, whose shell is /bin/sh: what the start-up files of somebody's shell do is neither
 * measured nor waited for. It goes with this process, however that ends.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import process from 'node:process';

export function temporaryLogin(prefix: string): string {
  const login = `${prefix}-${process.pid}`;
  execFileSync('useradd', ['--create-home', '--shell', '/bin/sh', login], { stdio: 'ignore' });
  process.once('exit', () => {
    // What it still runs would live on under a uid that the next account gets. pkill: 1, there was nothing.
    spawnSync('pkill', ['-KILL', '-u', login], { stdio: 'ignore' });
    execFileSync('userdel', ['--force', '--remove', login], { stdio: 'ignore' });
  });
  return login;
}
