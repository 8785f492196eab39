/** Draws docs/demo.svg: the demo's own output, run for real, as a terminal would show it. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import process from 'node:process';

const styles: Record<string, string> = {
  '1': 'font-weight:bold',
  '2': 'fill:#8b949e',
  '31': 'fill:#ff7b72',
  '32': 'fill:#7ee787',
  '36': 'fill:#79c0ff',
};
const sgr = new RegExp(`${String.fromCharCode(27)}\\[([0-9;]*)m`);
const escapeXml = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

interface Run {
  readonly text: string;
  readonly style: string;
}

/** One line of terminal output as runs of one style each. Knows the few SGR codes that the demo uses. */
function runs(line: string, active: Set<string>): Run[] {
  const parts = line.split(sgr);
  return parts.flatMap((part, index) => {
    if (index % 2 === 0) {
      return part === '' ? [] : [{ text: part, style: [...active].map((code) => styles[code]).join(';') }];
    }
    for (const code of part.split(';')) {
      if (code === '22') for (const c of ['1', '2']) active.delete(c);
      else if (code === '39') for (const c of ['31', '32', '36']) active.delete(c);
      else if (code === '0' || code === '') active.clear();
      else if (styles[code] !== undefined) active.add(code);
    }
    return [];
  });
}

function draw(lines: readonly string[]): string {
  const advance = 7.8;
  const height = 17;
  const plain = lines.map((line) => line.replaceAll(new RegExp(sgr, 'g'), ''));
  const width = Math.ceil(Math.max(...plain.map((line) => [...line].length)) * advance + 32);
  const active = new Set<string>();
  const rows = lines.map((line, row) => {
    let column = 0;
    const spans = runs(line, active).map(({ text, style }) => {
      const x = (16 + column * advance).toFixed(1);
      column += [...text].length;
      const length = ([...text].length * advance).toFixed(1);
      return `<tspan x="${x}" textLength="${length}" style="${style}">${escapeXml(text)}</tspan>`;
    });
    return `<text y="${28 + row * height}" xml:space="preserve">${spans.join('')}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${lines.length * height + 32}" role="img" aria-label="make demo">
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
<g font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="13" fill="#e6edf3">
${rows.join('\n')}
</g>
</svg>
`;
}

const demo = spawnSync(process.execPath, ['tools/demo.ts'], {
  encoding: 'utf8',
  env: { ...process.env, FORCE_COLOR: '1' },
  maxBuffer: 16 << 20,
});
if (demo.status !== 0) {
  process.stderr.write(demo.stdout + demo.stderr);
  process.exit(1);
}
// Long JSON lines are for the terminal that can wrap them; the picture keeps their beginning.
const lines = demo.stdout
  .trim()
  .split('\n')
  .map((line) => (line.startsWith('{') && line.length > 132 ? `${line.slice(0, 131)}…` : line));
writeFileSync('docs/demo.svg', draw(lines));
process.stdout.write(`docs/demo.svg: ${lines.length} lines\n`);
