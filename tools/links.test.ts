import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';

const repository = resolve(import.meta.dirname, '..');

const pages = globSync('{*.md,{docs,packages,examples,e2e,bench,tools}/**/*.md}', {
  cwd: repository,
  exclude: ['**/node_modules/**'],
});

/** Links and images, without what is code. */
function linksOf(text: string): string[] {
  const prose = text.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '');
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1] ?? '');
}

/** As GitHub makes an anchor of a heading. */
const anchorOf = (heading: string) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replaceAll(' ', '-');

function anchorsOf(path: string): string[] {
  const prose = readFileSync(path, 'utf8').replace(/^```[\s\S]*?^```/gm, '');
  return [...prose.matchAll(/^#+ (.*)$/gm)].map((match) => anchorOf(match[1] ?? ''));
}

test('every relative link of every page leads to a file of the repository, and to a heading of it', () => {
  assert.ok(pages.includes('README.md'));
  const broken = pages.flatMap((page) =>
    linksOf(readFileSync(join(repository, page), 'utf8'))
      .filter((link) => !/^[a-z]+:/.test(link))
      .filter((link) => !resolves(page, link))
      .map((link) => `${page}: ${link}`),
  );
  assert.deepEqual(broken, []);
});

function resolves(page: string, link: string): boolean {
  const [path = '', anchor] = link.split('#');
  const target = path === '' ? join(repository, page) : join(repository, dirname(page), path);
  const inside = !relative(repository, target).startsWith('..');
  return inside && existsSync(target) && (anchor === undefined || anchorsOf(target).includes(anchor));
}
