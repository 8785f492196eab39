// A filter's text as tokens. Columns count from 1, in characters as an editor shows them.

export interface Token {
  readonly kind: 'word' | 'text' | 'mark' | 'end';
  /** Of a text: what stands between its quotes, escapes undone. */
  readonly text: string;
  readonly column: number;
}

const patterns = [
  ['blank', /\s+/y],
  ['word', /[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_-]+)*/y],
  // Either kind of quotes; a backslash takes the next character as it is.
  ['text', /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/y],
  ['mark', /&&|\|\||[!(),[\]]/y],
] as const;

export function tokensOf(text: string, problem: (column: number, what: string) => Error): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < text.length) {
    const column = [...text.slice(0, at)].length + 1;
    const found = match(text, at);
    if (found === undefined) throw problem(column, unreadable(text.slice(at)));
    at += found.raw.length;
    if (found.kind === 'blank') continue;
    const plain = found.kind === 'text' ? found.raw.slice(1, -1).replace(/\\(.)/g, '$1') : found.raw;
    tokens.push({ kind: found.kind, text: plain, column });
  }
  tokens.push({ kind: 'end', text: '', column: [...text].length + 1 });
  return tokens;
}

function match(text: string, at: number) {
  for (const [kind, pattern] of patterns) {
    pattern.lastIndex = at;
    const raw = pattern.exec(text)?.[0];
    if (raw !== undefined) return { kind, raw };
  }
  return undefined;
}

function unreadable(rest: string): string {
  const [first = ''] = rest;
  if (first === '"' || first === "'") return 'this text has no closing quote';
  if (first === '&' || first === '|') return `"${first}" alone means nothing; write ${first}${first}`;
  if (first === '=') return '"=" means nothing here; write equals(a, b)';
  return `${JSON.stringify(first)} means nothing here`;
}
