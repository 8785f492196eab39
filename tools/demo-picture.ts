/**
 * Draws docs/demo.svg: the demo's own output, run for real, as a terminal would show it. Left out are the JSON
 * lines, which are for a terminal that can wrap them.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import process from 'node:process';

/** Pixels of a character cell; the font is scaled into it by textLength, whatever font the reader has. */
const advance = 8;
const rowHeight = 19;
const margin = 22;
const titleBar = 40;

/** SGR code → style, as far as the demo uses them. */
const styles: Record<string, string> = {
  '1': 'font-weight:600',
  '2': 'fill:#9aa4b2',
  '31': 'fill:#ff7b72',
  '32': 'fill:#7ee787',
  '33': 'fill:#f2cc60',
  '36': 'fill:#79c0ff',
};
const colours = ['31', '32', '33', '36'];
const sgr = new RegExp(`${String.fromCharCode(27)}\\[([0-9;]*)m`);
const escapeXml = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

interface Run {
  readonly text: string;
  readonly style: string;
}

/** One line of terminal output as runs of one style each; `active` is carried from line to line. */
function runs(line: string, active: Set<string>): Run[] {
  return line.split(sgr).flatMap((part, index) => {
    if (index % 2 === 0) {
      return part === '' ? [] : [{ text: part, style: [...active].map((code) => styles[code]).join(';') }];
    }
    for (const code of part.split(';')) apply(code, active);
    return [];
  });
}

function apply(code: string, active: Set<string>): void {
  if (code === '0' || code === '') active.clear();
  else if (code === '22') for (const weight of ['1', '2']) active.delete(weight);
  else if (code === '39') for (const colour of colours) active.delete(colour);
  else if (styles[code] !== undefined) {
    if (colours.includes(code)) for (const colour of colours) active.delete(colour);
    active.add(code);
  }
}

/** Which half-lines a box character is made of: up, down, left, right. Fonts leave gaps between the rows. */
const boxes: Record<string, string> = {
  '─': 'lr',
  '│': 'ud',
  '┌': 'dr',
  '┐': 'dl',
  '└': 'ur',
  '┘': 'ul',
  '┬': 'dlr',
  '┴': 'ulr',
  '├': 'udr',
  '┤': 'udl',
  '┼': 'udlr',
};

function boxPath(character: string, x: number, y: number): string {
  const [middleX, middleY] = [x + advance / 2, y + rowHeight / 2];
  const ends: Record<string, string> = {
    u: `V${y}`,
    d: `V${y + rowHeight}`,
    l: `H${x}`,
    r: `H${x + advance}`,
  };
  return [...(boxes[character] ?? '')].map((half) => `M${middleX} ${middleY}${ends[half]}`).join('');
}

interface Drawn {
  readonly texts: string[];
  /** SVG path data of all lines of all boxes. */
  box: string;
}

function drawLine(line: string, top: number, active: Set<string>, drawn: Drawn): void {
  let column = 0;
  const spans: string[] = [];
  for (const { text, style } of runs(line, active)) {
    for (const word of text.matchAll(/[─│┌┐└┘┬┴├┤┼]|[^─│┌┐└┘┬┴├┤┼]+/g)) {
      const x = margin + (column + [...text.slice(0, word.index)].length) * advance;
      if (boxes[word[0]] !== undefined) drawn.box += boxPath(word[0], x, top);
      else if (word[0].trim() !== '') spans.push(span(word[0], x, style));
    }
    column += [...text].length;
  }
  if (spans.length > 0)
    drawn.texts.push(`<text y="${top + 14}" xml:space="preserve">${spans.join('')}</text>`);
}

/** Without the blanks around it: renderers differ on those. */
function span(text: string, x: number, style: string): string {
  const shown = text.trim();
  const start = x + (text.length - text.trimStart().length) * advance;
  const size = `x="${start}" textLength="${[...shown].length * advance}"`;
  return `<tspan ${size}${style === '' ? '' : ` style="${style}"`}>${escapeXml(shown)}</tspan>`;
}

function draw(lines: readonly string[]): string {
  const columns = Math.max(...lines.map((line) => [...line.replaceAll(new RegExp(sgr, 'g'), '')].length));
  const [width, height] = [columns * advance + 2 * margin, titleBar + lines.length * rowHeight + margin];
  const drawn: Drawn = { texts: [], box: '' };
  const active = new Set<string>();
  for (const [row, line] of lines.entries()) drawLine(line, titleBar + row * rowHeight, active, drawn);
  const lights = ['#ff5f57', '#febc2e', '#28c840'].map(
    (fill, index) => `<circle cx="${margin + 6 + index * 20}" cy="18" r="6" fill="${fill}"/>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="What make demo prints: a session's terminal, and what the kernel saw of it">
<rect x=".5" y=".5" width="${width - 1}" height="${height - 1}" rx="10" fill="#0d1117" stroke="#30363d"/>
${lights.join('')}
<g font-family="ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="13" fill="#e6edf3" style="white-space:pre">
<text x="${width / 2}" y="22" text-anchor="middle" fill="#9aa4b2">make demo</text>
<path d="${drawn.box}" stroke="#484f58" fill="none"/>
${drawn.texts.join('\n')}
</g>
</svg>
`;
}

/** The parts that show something: the terminal, the evidence, the count. */
function picked(output: string): string[] {
  const [, ...parts] = output.trim().split(/^(?=[^\n]*▌)/m);
  return parts
    .filter((part) => !part.includes('as JSON lines'))
    .flatMap((part) => part.trimEnd().split('\n').concat(''))
    .filter((line) => !line.startsWith('{'))
    .slice(0, -1);
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
const lines = picked(demo.stdout.slice(demo.stdout.indexOf('alice logs in') - 20));
writeFileSync('docs/demo.svg', draw(lines));
process.stdout.write(`docs/demo.svg: ${lines.length} lines\n`);
