/**
 * An account of the run's own, whose shell is /bin/sh: what the start-up files of somebody's shell do is neither
 * measured nor waited for. It goes with this process, however that ends.
 */
import { execFileSync } from 'node:child_process';
import process from 'node:process';

export function temporaryLogin(prefix: string): string {
  const login = `${prefix}-${process.pid}`;
  execFileSync('useradd', ['--create-home', '--shell', '/bin/sh', login], { stdio: 'ignore' });
  process.once('exit', () => {
    execFileSync('userdel', ['--force', '--remove', login], { stdio: 'ignore' });
  });
  return login;
}
