// The product as a package puts it on a host: a tree of its own for each version, and a link to the one in use. A daemon
// is started through the link; an upgrade moves the link.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LogLine, OneNode } from '../one-node.fixture.ts';
import { isAlive, until } from '../until.fixture.ts';

const repository = fileURLToPath(new URL('../../../../../../', import.meta.url));
const packages = ['contracts', 'kernel', 'teleport'];

export class Installation {
  readonly folder: string;
  readonly #link: string;

  constructor(folder: string) {
    this.folder = folder;
    this.#link = join(folder, 'current');
  }

  /** What a person calls. */
  get program(): string {
    return join(this.#link, 'packages/teleport/bin/teleport');
  }

  path(version: string, inside: string): string {
    return join(this.folder, version, 'packages', inside);
  }

  /** A tree of that version, not yet in use. Its recorder is another build: the same source, other bytes. */
  async add(version: string): Promise<void> {
    const root = join(this.folder, version);
    for (const name of packages) await copyPackage(name, root);
    await appendFile(this.path(version, 'kernel/build/recorder'), `build ${version}`);
    const manifest = this.path(version, 'teleport/package.json');
    const text = await readFile(manifest, 'utf8');
    await writeFile(manifest, text.replace(/"version": "[^"]*"/, `"version": "${version}"`));
    await symlink(join(repository, '.toolchain'), join(root, '.toolchain'));
    const modules = join(root, 'node_modules');
    await mkdir(join(modules, '@sallyport'), { recursive: true });
    for (const name of await readdir(join(repository, 'node_modules')))
      if (name !== '@sallyport') await symlink(join(repository, 'node_modules', name), join(modules, name));
    for (const name of packages)
      await symlink(join(root, 'packages', name), join(modules, '@sallyport', name));
  }

  async use(version: string): Promise<void> {
    await symlink(join(this.folder, version), `${this.#link}.next`);
    await rename(`${this.#link}.next`, this.#link);
  }

  remove(): Promise<void> {
    return rm(this.folder, { recursive: true, force: true });
  }
}

async function copyPackage(name: string, root: string): Promise<void> {
  const from = join(repository, 'packages', name);
  const to = join(root, 'packages', name);
  await mkdir(to, { recursive: true });
  const wanted = [
    'src',
    'bin',
    'package.json',
    'build/recorder',
    'build/launcher',
    'build/sftp',
    'node_modules',
  ];
  const there = new Set(await readdir(from));
  const built = new Set(await readdir(join(from, 'build')).catch(() => []));
  for (const each of wanted) {
    const [top = '', file] = each.split('/');
    if (file === undefined ? !there.has(top) : !built.has(file)) continue;
    if (file !== undefined) await mkdir(join(to, top), { recursive: true });
    execFileSync('cp', ['-a', join(from, each), join(to, each)]);
  }
}

/** `teleport start` of an installation: one after the other, with one log and one pid file. */
export class Service {
  readonly node: OneNode;
  readonly installation: Installation;
  readonly config: string;
  readonly pidFile: string;
  readonly #log: string;
  #first: ChildProcess | undefined;

  /** `folder`: as yamlOf was told. */
  constructor(node: OneNode, installation: Installation, folder: string) {
    this.node = node;
    this.installation = installation;
    this.config = join(folder, 'teleport.yaml');
    this.pidFile = join(folder, 'teleport.pid');
    this.#log = join(folder, 'service.log');
  }

  /** For OneNode: the service writes its log and pid where this class looks. */
  static yamlOf(folder: string): string {
    return `pid_file: ${join(folder, 'teleport.pid')}, log: { format: json, severity: info, output: ${join(folder, 'service.log')} }`;
  }

  async start(...args: string[]): Promise<void> {
    await writeFile(this.config, this.node.yaml());
    const listening = 'the ssh service listens';
    const times = (await this.log()).filter(({ msg }) => msg === listening).length;
    const child = spawn(this.installation.program, ['start', '-c', this.config, ...args], {
      stdio: ['ignore', 'ignore', 'inherit'],
      detached: true,
    });
    this.#first = child;
    const listens = await this.says(listening, times);
    this.node.listensOn(Number(String(listens['address']).split(':').at(-1)));
  }

  async pid(): Promise<number> {
    return Number(await readFile(this.pidFile, 'utf8').catch(() => '0'));
  }

  async log(): Promise<LogLine[]> {
    const text = await readFile(this.#log, 'utf8').catch(() => '');
    return text
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as LogLine);
  }

  /** The line after the first `skip` of its kind. */
  async says(message: string, skip = 0, timeoutMs = 60_000): Promise<LogLine> {
    const find = async () => (await this.log()).filter((line) => line['msg'] === message)[skip];
    return await until(`the service says "${message}"`, find, timeoutMs).catch(async (thrown: unknown) => {
      const lines = (await this.log()).slice(-25).map((line) => JSON.stringify(line));
      throw new Error(`${thrown}\n${lines.join('\n')}`);
    });
  }

  /** SIGHUP to the daemon; resolves with the new one's process id and how long it took, ms. */
  async reload(): Promise<{ before: number; now: number; ms: number }> {
    const before = await this.pid();
    const serves = 'a new daemon serves; this one stays for what lives in it';
    const times = (await this.log()).filter((line) => line['msg'] === serves).length;
    const began = performance.now();
    process.kill(before, 'SIGHUP');
    const now = await until(
      'another daemon has the pid file',
      async () => {
        const pid = await this.pid();
        return pid !== 0 && pid !== before && pid;
      },
      90_000,
    ).catch(async (thrown: unknown) => {
      throw new Error(
        `${thrown}\n${(await this.log())
          .slice(-25)
          .map((line) => JSON.stringify(line))
          .join('\n')}`,
      );
    });
    await this.says(serves, times);
    return { before, now, ms: Math.round(performance.now() - began) };
  }

  /** Every daemon of it, whichever has the pid file. */
  async living(): Promise<number[]> {
    const names = await readdir(join(this.node.dataDir, 'generations')).catch(() => []);
    const pids = names.filter((name) => name.endsWith('.json')).map((name) => Number(name.split('-')[1]));
    return pids.filter((pid) => pid > 0 && isAlive(pid));
  }

  async stop(): Promise<void> {
    const pid = await this.pid();
    if (pid !== 0 && isAlive(pid)) process.kill(pid, 'SIGTERM');
    await until('all daemons have ended', async () => (await this.living()).length === 0, 20_000).catch(
      async () => {
        for (const each of await this.living()) process.kill(each, 'SIGKILL');
      },
    );
    const first = this.#first;
    if (first && first.exitCode === null && first.signalCode === null) await once(first, 'exit');
  }
}
