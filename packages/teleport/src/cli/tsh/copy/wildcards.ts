// Wildcards of a shell, on either side: `*`, `?`, `[a-z]`, `[!a-z]`, and `\` before a character that is meant itself.
import { join, type Tree } from './tree.ts';

const wild = /[*?[\\]/;

/** More than this from one pattern is a mistake. */
const maxFound = 100_000;

/** The paths that are meant, sorted; a path that exists as it is written means itself. None: there is nothing such. */
export async function expandWildcards(tree: Tree, path: string): Promise<string[]> {
  if (!wild.test(path)) return [path];
  if (await tree.look(path)) return [path];
  const parts = path.split('/');
  let found = [path.startsWith('/') ? '/' : ''];
  for (const part of parts) {
    if (part === '') continue;
    found = await step(tree, found, part);
    if (found.length > maxFound) throw new RangeError(`more than ${maxFound} files`);
  }
  return found;
}

async function step(tree: Tree, folders: readonly string[], part: string): Promise<string[]> {
  if (!wild.test(part)) {
    const paths = folders.map((folder) => join(folder, part));
    const there = await Promise.all(paths.map((path) => tree.look(path)));
    return paths.filter((_, i) => there[i]);
  }
  const matches = patternOf(part);
  const found: string[] = [];
  for (const folder of folders) {
    if ((await tree.look(folder || '.'))?.kind !== 'folder') continue;
    for (const name of await tree.names(folder || '.')) if (matches(name)) found.push(join(folder, name));
  }
  return found;
}

/** A name that begins with a dot is meant only by a pattern that does. */
export function patternOf(pattern: string): (name: string) => boolean {
  const expression = pattern.replaceAll(
    /\\(.)|\[(!|\^)?(\]?[^\]]*)\]|\*+|\?|[^\\[*?]+|./gs,
    (text, escaped: string | undefined, not: string | undefined, set: string | undefined) => {
      if (escaped !== undefined) return RegExp.escape(escaped);
      if (set !== undefined) return `[${not ? '^' : ''}${set.replaceAll(/[\\\]^]/g, '\\$&')}]`;
      if (text.startsWith('*')) return '.*';
      return text === '?' ? '.' : RegExp.escape(text);
    },
  );
  const whole = compiled(`^${expression}$`);
  return (name) => (pattern.startsWith('.') || !name.startsWith('.')) && whole.test(name);
}

/** `[z-a]` means nothing. */
function compiled(expression: string): RegExp {
  try {
    return new RegExp(expression, 'su');
  } catch {
    return /(?!)/;
  }
}
