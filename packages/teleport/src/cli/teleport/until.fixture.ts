// Waiting for what a test expects to happen.
export { until } from '../../until.fixture.ts';

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
