/** Packages as `make package` builds them, with less compression and a key of the test's own. */
import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { repository } from './one-host.ts';

/** This machine's architecture, as Debian names it. */
export const own = process.arch === 'x64' ? 'amd64' : 'arm64';
/** The product's own version. */
export const version: string = JSON.parse(
  readFileSync(join(repository, 'packages/teleport/package.json'), 'utf8'),
).version;
/** One before it, for whoever upgrades. */
export const oldVersion = '0.0.9';

export const deb = (name: string) => `sallyport_${name}_${own}.deb`;

export class PackageMaker {
  readonly keyFile: string;

  constructor(folder: string) {
    this.keyFile = join(folder, 'release-key.pem');
    const { privateKey } = generateKeyPairSync('ed25519');
    writeFileSync(this.keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }));
  }

  async build(...flags: string[]): Promise<void> {
    const lock = join(repository, '.build/package.lock');
    const program = [process.execPath, join(repository, 'tools/package/main.ts'), '--quick', ...flags];
    const env = { ...process.env, SALLYPORT_RELEASE_KEY_FILE: this.keyFile, NODE_NO_WARNINGS: '1' };
    mkdirSync(join(repository, '.build'), { recursive: true });
    await promisify(execFile)('flock', [lock, ...program], { cwd: repository, env, timeout: 300_000 });
  }
}
