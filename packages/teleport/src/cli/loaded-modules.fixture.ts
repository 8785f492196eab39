// Which modules a command loads: what it loads is what a person waits for.
import { execFile } from 'node:child_process';

const tell = `import { registerHooks } from 'node:module';
registerHooks({ load(url, context, next) { process.stderr.write('loads ' + url + '\\n'); return next(url, context); } });`;

export interface Started {
  readonly stdout: string;
  /** `loads <url>` */
  readonly modules: readonly string[];
}

/** Runs it for somebody who is not logged in. */
export function start(main: string, ...args: string[]): Promise<Started> {
  const hooks = `data:text/javascript,${encodeURIComponent(tell)}`;
  const { PATH, NODE_COMPILE_CACHE } = process.env;
  const env = { PATH, ...(NODE_COMPILE_CACHE && { NODE_COMPILE_CACHE }), TELEPORT_HOME: '/nonexistent' };
  return new Promise((done) =>
    execFile(process.execPath, ['--import', hooks, main, ...args], { env }, (_error, stdout, stderr) =>
      done({ stdout, modules: stderr.split('\n').filter((line) => line.startsWith('loads ')) }),
    ),
  );
}

export const has = (modules: readonly string[], name: string) =>
  modules.some((line) => line.includes(`/node_modules/${name}/`));
