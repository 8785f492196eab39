// The C rooms stand in layers: a file includes only what stands below it. A module is a .c with its .h.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

const room = (name: string) => new URL(`../${name}/`, import.meta.url);

/** Which modules each one includes, by name without ending; of files by name. */
function includes(files: ReadonlyMap<string, string>): Map<string, Set<string>> {
  const graph = new Map<string, Set<string>>();
  for (const [file, text] of files) {
    const module = moduleOf(file);
    const below = graph.get(module) ?? new Set();
    for (const [, header = ''] of text.matchAll(/^\s*#\s*include\s+"([^"]+)"/gm))
      if (moduleOf(header) !== module) below.add(moduleOf(header));
    graph.set(module, below);
  }
  return graph;
}

const moduleOf = (file: string) => file.replace(/^.*\//, '').replace(/(\.bpf)?\.[ch]$/, '');

/** The first circle found, as the modules on it; undefined when there is none. */
function circle(graph: ReadonlyMap<string, ReadonlySet<string>>): string[] | undefined {
  const done = new Set<string>();
  const walk = (module: string, path: readonly string[]): string[] | undefined => {
    if (path.includes(module)) return [...path.slice(path.indexOf(module)), module];
    if (done.has(module)) return undefined;
    for (const below of graph.get(module) ?? []) {
      const found = walk(below, [...path, module]);
      if (found) return found;
    }
    done.add(module);
    return undefined;
  };
  for (const module of graph.keys()) {
    const found = walk(module, []);
    if (found) return found;
  }
  return undefined;
}

function filesOf(name: string): Map<string, string> {
  const names = readdirSync(room(name)).filter((file) => /\.[ch]$/.test(file));
  return new Map(names.map((file) => [file, readFileSync(new URL(file, room(name)), 'utf8')]));
}

for (const name of ['bpf', 'recorder', 'launcher']) {
  test(`${name} has no circle of includes, and no header that all of it shares`, () => {
    const graph = includes(filesOf(name));
    assert.ok(graph.size > 5, 'nothing was read');
    assert.equal(circle(graph)?.join(' → '), undefined);
  });
}

test('a circle is found, through headers and through sources', () => {
  const files = new Map([
    ['a.c', '#include "a.h"\n#include "b.h"\n'],
    ['a.h', ''],
    ['b.h', '#include <stdio.h>\n'],
    ['b.c', '#include "b.h"\n#include "c.h"\n'],
    ['c.h', '#include "a.h"\n'],
  ]);
  assert.deepEqual(circle(includes(files)), ['a', 'b', 'c', 'a']);
  files.set('c.h', '');
  assert.equal(circle(includes(files)), undefined);
});
