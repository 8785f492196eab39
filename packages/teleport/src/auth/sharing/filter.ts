// The `filter` of a role's require_session_join: an expression about whoever joins. Small on purpose: a role that
// cannot be read at a glance guards nothing. Bounded: text, depth and work.
//
//   or      = and { "||" and }
//   and     = not { "&&" not }
//   not     = "!" not | "(" or ")" | contains(list, text) | equals(value, value)
//   value   = "text" | user.metadata.name | user.spec.roles | user.spec.traits.KEY | user.spec.traits["KEY"]
import { AppError } from '@sallyport/contracts/errors.ts';
import { type Token, tokensOf } from './filter-tokens.ts';

/** What a filter may look at. */
export interface FilterUser {
  readonly name: string;
  readonly roles: readonly string[];
  readonly traits: Readonly<Record<string, readonly string[]>>;
}

export type Filter = (user: FilterUser) => boolean;

type Value = (user: FilterUser) => string | readonly string[];

const maxLength = 1024;
const maxDepth = 32;

/** Throws AppError `auth.bad_filter` with the column, counted from 1. */
export function parseFilter(text: string): Filter {
  if (text.length > maxLength) throw problem(1, `a filter has at most ${maxLength} characters`);
  const parser = new Parser(tokensOf(text, problem));
  return parser.whole();
}

class Parser {
  readonly #tokens: readonly Token[];
  #at = 0;
  #depth = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  whole(): Filter {
    const filter = this.#or();
    if (this.#next.kind !== 'end') throw this.#unexpected('&& or ||');
    return filter;
  }

  #or(): Filter {
    let left = this.#and();
    while (this.#take('||')) {
      const [first, second] = [left, this.#and()];
      left = (user) => first(user) || second(user);
    }
    return left;
  }

  #and(): Filter {
    let left = this.#not();
    while (this.#take('&&')) {
      const [first, second] = [left, this.#not()];
      left = (user) => first(user) && second(user);
    }
    return left;
  }

  #not(): Filter {
    this.#depth += 1;
    if (this.#depth > maxDepth) throw problem(this.#next.column, `deeper than ${maxDepth} levels`);
    try {
      return this.#term();
    } finally {
      this.#depth -= 1;
    }
  }

  #term(): Filter {
    if (this.#take('!')) {
      const inner = this.#not();
      return (user) => !inner(user);
    }
    if (this.#take('(')) {
      const inner = this.#or();
      this.#expect(')');
      return inner;
    }
    const { kind, text, column } = this.#next;
    if (kind !== 'word') throw this.#unexpected('contains(…), equals(…), ! or (');
    this.#at += 1;
    const isContains = text === 'contains';
    if (!isContains && text !== 'equals')
      throw problem(column, `"${text}" is not a function; there are contains and equals`);
    this.#expect('(');
    const first = this.#value();
    this.#expect(',');
    const second = this.#value();
    this.#expect(')');
    return isContains ? containing(first, second) : equal(first, second);
  }

  #value(): Value {
    const { kind, text, column } = this.#next;
    if (kind === 'text') {
      this.#at += 1;
      return () => text;
    }
    if (kind !== 'word') throw this.#unexpected('a "text" or user.…');
    this.#at += 1;
    return text === 'user.spec.traits' && this.#take('[') ? this.#trait() : field(text, column);
  }

  #trait(): Value {
    const { kind, text } = this.#next;
    if (kind !== 'text') throw this.#unexpected('the "name" of a trait');
    this.#at += 1;
    this.#expect(']');
    return (user) => traitOf(user, text);
  }

  get #next(): Token {
    return this.#tokens[this.#at] ?? { kind: 'end', text: '', column: 1 };
  }

  #take(mark: string): boolean {
    const found = this.#next.kind === 'mark' && this.#next.text === mark;
    if (found) this.#at += 1;
    return found;
  }

  #expect(mark: string): void {
    if (!this.#take(mark)) throw this.#unexpected(mark);
  }

  #unexpected(wanted: string): AppError {
    const { kind, text, column } = this.#next;
    return problem(column, `expected ${wanted}, found ${kind === 'end' ? 'the end' : JSON.stringify(text)}`);
  }
}

const traitPrefix = 'user.spec.traits.';

function field(path: string, column: number): Value {
  if (path === 'user.metadata.name') return ({ name }) => name;
  if (path === 'user.spec.roles') return ({ roles }) => roles;
  const key = path.startsWith(traitPrefix) ? path.slice(traitPrefix.length) : '';
  if (key !== '') return (user) => traitOf(user, key);
  throw problem(
    column,
    `"${path}" is not known; there are user.metadata.name, user.spec.roles and user.spec.traits.KEY`,
  );
}

/** Not `traits[key]` alone: a trait named `constructor` is nobody's unless somebody has it. */
function traitOf({ traits }: FilterUser, key: string): readonly string[] {
  return Object.hasOwn(traits, key) ? (traits[key] ?? []) : [];
}

function listOf(value: string | readonly string[]): readonly string[] {
  return typeof value === 'string' ? [value] : value;
}

/** Every text of the second is in the first; of none, nothing is. */
function containing(list: Value, wanted: Value): Filter {
  return (user) => {
    const texts = listOf(wanted(user));
    return texts.length > 0 && texts.every((text) => listOf(list(user)).includes(text));
  };
}

/** The same texts, in whatever order. */
function equal(first: Value, second: Value): Filter {
  return (user) => {
    const [left, right] = [new Set(listOf(first(user))), new Set(listOf(second(user)))];
    return left.size === right.size && [...left].every((text) => right.has(text));
  };
}

function problem(column: number, what: string): AppError {
  return new AppError('bad_input', 'auth.bad_filter', `column ${column}: ${what}.`, {
    hint: 'For example: contains(user.spec.roles, "auditor") && !equals(user.metadata.name, "bob")',
  });
}
