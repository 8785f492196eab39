// What makes records avoidable on this host. None of it keeps a node from starting: it is the operator's to judge.
import { becomingRoot } from './becoming-root.ts';
import { hostFiles } from './host-files.ts';
import { kernelSurface } from './kernel-surface.ts';
import { outsideTheSession } from './outside-the-session.ts';
import type { Way } from './way.ts';

/** In the order of the guide. */
export async function waysAround(files = hostFiles()): Promise<readonly Way[]> {
  const looks = [...outsideTheSession, ...becomingRoot, ...kernelSurface];
  return Promise.all(
    looks.map(async ({ name, why, fix, look }) => {
      const { found, closed } = await look(files);
      return { name, found, closed, why, fix: closed ? '' : fix };
    }),
  );
}
