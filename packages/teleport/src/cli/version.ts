// What this program is: the version of package.json, once.
import { readFileSync } from 'node:fs';
import { print } from './output.ts';

let version: string | undefined;

/** Read when asked for: most commands do not need it. */
export function productVersion(): string {
  version ??= String(
    JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version,
  );
  return version;
}

/** One line, as `teleport version` prints it: what to put into a report. */
export function versionLine(program: string): string {
  return `Sallyport ${program} v${productVersion()} node:${process.version} ${process.platform}/${process.arch}`;
}

export function versionAction(program: string): void {
  print(versionLine(program));
}
