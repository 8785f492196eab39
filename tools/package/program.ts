// Our own code as it is installed. Node takes types away only outside of node_modules, where `npm install -g` puts
// everything, and doing it at each start costs time: so the packages hold JavaScript. Types become blanks, so that
// lines and columns of a stack trace are those of the sources.
//
// What the three commands reach by imports is taken, and nothing else: no test, no fixture, no half-made file.
import { cpSync, existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { repository } from './places.ts';

export const commands = ['teleport', 'tctl', 'tsh'] as const;
const ours = ['contracts', 'kernel', 'teleport'] as const;

const relativeOrOurs = /(\b(?:from|import)\s*\(?\s*)(['"])((?:\.{1,2}|@sallyport)\/[^'"]+)\.ts\2/g;
const packageName = /\b(?:from|import)\s*\(?\s*['"]((?:@[a-z][\w.-]*\/)?[a-z][\w.-]*)(?:\/[^'"]*)?['"]/g;
/** Of lines that are code: a comment may speak of other files. */
const leftOver = /^(?!\s*(?:\/\/|\*)).*['"]\.{1,2}\/[^'"]*\.ts['"]/m;

export interface Program {
  /** npm packages that it imports. */
  readonly imports: ReadonlySet<string>;
  readonly files: number;
}

/** Writes `node_modules/@sallyport/…` below `into`. */
export function writeProgram(into: string, version: string): Program {
  const imports = new Set<string>();
  const waiting = commands.map((name) => join(repository, `packages/teleport/src/cli/${name}/main.ts`));
  const seen = new Set(waiting);
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    const { code, reached, packages } = translate(file);
    const target = join(into, installedPath(file).replace(/\.ts$/, '.js'));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, code);
    for (const name of packages) imports.add(name);
    for (const next of reached.filter((each) => !seen.has(each))) {
      seen.add(next);
      waiting.push(next);
    }
  }
  for (const asset of globSync('packages/*/src/**/assets/*', { cwd: repository })) {
    cpSync(join(repository, asset), join(into, installedPath(join(repository, asset))), { recursive: true });
  }
  for (const name of ours) writeManifest(into, name, version);
  return { imports, files: seen.size };
}

function translate(file: string) {
  const plain = stripTypeScriptTypes(readFileSync(file, 'utf8'), { mode: 'strip' });
  const reached: string[] = [];
  const code = plain
    .replace(relativeOrOurs, (_, before: string, quote: string, path: string) => {
      reached.push(sourceOf(file, `${path}.ts`));
      return `${before}${quote}${path}.js${quote}`;
    })
    .replace(/[ \t]+$/gm, '');
  const odd = leftOver.exec(code)?.[0];
  if (odd !== undefined)
    throw new Error(`${file} names a source file other than by an import: ${odd.trim()}`);
  const packages = [...code.matchAll(packageName)].map(([, name = '']) => name);
  return { code, reached, packages };
}

function sourceOf(importer: string, specifier: string): string {
  const [, name, path] = /^@sallyport\/([a-z]+)\/(.+)$/.exec(specifier) ?? [];
  const file =
    name === undefined || path === undefined
      ? resolve(dirname(importer), specifier)
      : join(repository, 'packages', name, 'src', path);
  if (!existsSync(file)) throw new Error(`${importer} imports ${specifier}, and ${file} is not there`);
  return file;
}

/** packages/teleport/src/cli/output.ts → node_modules/@sallyport/teleport/src/cli/output.ts */
function installedPath(file: string): string {
  return relative(repository, file).replace(/^packages\//, 'node_modules/@sallyport/');
}

function writeManifest(into: string, name: string, version: string): void {
  const manifest = {
    name: `@sallyport/${name}`,
    version,
    license: 'Apache-2.0',
    type: 'module',
    exports: { './*': './src/*' },
  };
  const folder = join(into, 'node_modules/@sallyport', name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}
