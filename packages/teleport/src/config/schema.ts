// The vocabulary of a configuration schema. One description of a key reads it, checks it, and documents it, so
// the reference page cannot differ from what the daemon accepts.
import { isMap, isScalar, isSeq, type Node } from 'yaml';
import { formatAddress, parseAddress } from './address.ts';
import type { Address } from './config.ts';
import { formatDuration, parseDuration } from './duration.ts';
import { nearestKey } from './nearest-key.ts';
import { parsePostgresUri } from './postgres-uri.ts';
import type { YamlReader } from './yaml-reader.ts';

/** Where a value stands: its dotted path for messages, and the node to point at when it is absent. */
export interface Place {
  readonly reader: YamlReader;
  readonly path: string;
  readonly anchor: unknown;
}

export interface Field<T> {
  /** For the reference page: `host:port`, `duration`, `true or false`. */
  readonly typeName: string;
  readonly doc: string;
  /** The default as one would write it; `undefined`: none. */
  readonly shownDefault: string | undefined;
  /** Accepted and checked, but nothing acts on it yet (for some values: see the function). */
  notYet?(value: T): boolean;
  /** The keys below, when this is a section or a list of sections. */
  readonly fields?: Readonly<Record<string, Field<unknown>>>;
  /** `undefined` node: the key is absent. Problems go to the reader; then the default is returned. */
  read(node: Node | undefined, place: Place): T;
}

export interface FieldOptions<T> {
  readonly doc: string;
  readonly default: T;
  /** Overrides how the default is shown. */
  readonly shown?: string;
  /** `always`, or a function of the value. */
  notYet?(value: T): boolean;
}

/** For `notYet`: whatever the value, nothing acts on it yet. */
export const always = (): boolean => true;

export type Parsed<T> = { readonly value: T } | { readonly problem: string };

/** A field of one scalar. Its text is the one in the file, so `auth_token: 0123` stays `0123`. */
export function scalar<T>(
  typeName: string,
  options: FieldOptions<T>,
  show: (value: NonNullable<T>) => string,
  parse: (text: string, path: string) => Parsed<T>,
): Field<T> {
  const { doc, notYet } = options;
  const fallback = options.default;
  return {
    typeName,
    doc,
    shownDefault: options.shown ?? (fallback === undefined || fallback === null ? undefined : show(fallback)),
    ...(notYet === undefined ? {} : { notYet }),
    read(node, { reader, path }) {
      if (node === undefined) return fallback;
      const parsed = isScalar(node)
        ? parse(scalarText(node), path)
        : { problem: `${path} must be ${typeName}` };
      if ('value' in parsed) return parsed.value;
      reader.problem(reader.position(node), parsed.problem);
      return fallback;
    },
  };
}

type Optional<T> = T | undefined;

export function text<T extends Optional<string>>(options: FieldOptions<T>, what = 'text'): Field<T | string> {
  return scalar<T | string>(what, options, String, (value, path) =>
    value === '' || value.includes('\0') ? { problem: `${path} must not be empty` } : { value },
  );
}

/** A name that travels in certificates, log lines and known_hosts: nothing invisible, no blanks. */
export function name<T extends Optional<string>>(options: FieldOptions<T>): Field<T | string> {
  return scalar<T | string>('a name', options, String, (value, path) =>
    /^[^\s\p{C}]{1,255}$/u.test(value)
      ? { value }
      : { problem: `${path} must be a name of 1 to 255 characters without blanks` },
  );
}

export function bool(options: FieldOptions<boolean>): Field<boolean> {
  // `yes` and `no` are booleans in YAML 1.1, which the documented system reads, and text in YAML 1.2.
  return scalar('true or false', options, String, (value, path) => {
    if (/^(true|yes|on)$/i.test(value)) return { value: true };
    if (/^(false|no|off)$/i.test(value)) return { value: false };
    return { problem: `${path} must be true or false (or yes or no), not "${value}"` };
  });
}

export function integer(
  options: FieldOptions<number> & { name?: string; min: number; max: number },
): Field<number> {
  return scalar('a whole number', options, String, (value, path) => {
    // `command_buffer_size: -1` is refused in the documented words, which name the Go field.
    const name = options.name ?? path;
    if (!/^[-+]?\d+$/.test(value)) return { problem: `${path} must be a whole number, not "${value}"` };
    const number = Number(value);
    if (options.min === 0 && number < 0) return { problem: `${name} must not be negative` };
    if (number < options.min) return { problem: `${name} must be at least ${options.min}` };
    if (number > options.max) return { problem: `${name} must be at most ${options.max}` };
    return { value: number };
  });
}

/** `aliases`: other spellings the documented system takes. Case does not matter (`severity: INFO`). */
export function oneOf<const T extends string>(
  words: readonly T[],
  options: FieldOptions<NoInfer<T>> & { aliases?: Readonly<Record<string, NoInfer<T>>> },
): Field<T> {
  return scalar(words.map((word) => `\`${word}\``).join(', '), options, String, (value, path) => {
    const given = value.toLowerCase();
    const word =
      words.find((candidate) => candidate === given) ??
      new Map(Object.entries(options.aliases ?? {})).get(given);
    if (word !== undefined) return { value: word };
    const near = nearestKey(value, words);
    return { problem: `${path} must be one of ${words.join(', ')}, not "${value}"${didYouMean(near)}` };
  });
}

export function duration<T extends Optional<number>>(options: FieldOptions<T>): Field<T | number> {
  return scalar<T | number>(
    'a duration (`30s`, `12h`, `1h30m`)',
    options,
    (ms) => formatDuration(Number(ms)),
    (value, path) => {
      const ms = parseDuration(value);
      return ms === undefined
        ? { problem: `${path} must be a duration such as 30s or 1h30m, not "${value}"` }
        : { value: ms };
    },
  );
}

export function address<T extends Optional<Address>>(
  options: FieldOptions<T> & { port: number },
): Field<T | Address> {
  return scalar<T | Address>(
    `host:port (port ${options.port} when left out)`,
    options,
    showAddress,
    (value, path) => {
      const parsed = parseAddress(value, options.port);
      return parsed === undefined
        ? { problem: `${path} must be host:port, not "${value}"` }
        : { value: parsed };
    },
  );
}

function showAddress(value: unknown): string {
  return formatAddress(value as Address);
}

/** Of HTTP or HTTPS, without what has no place in the address of files. */
export function url<T extends Optional<string>>(options: FieldOptions<T>): Field<T | string> {
  return scalar<T | string>('a URL', options, String, (value, where) =>
    /^https?:\/\/[A-Za-z0-9._~:/%[\]-]+$/.test(value) && URL.canParse(value)
      ? { value }
      : { problem: `${where} must be a URL such as https://mirror.example.com/sallyport, not "${value}"` },
  );
}

/** Absolute, because the daemon's working directory is nobody's business. */
export function path<T extends Optional<string>>(options: FieldOptions<T>): Field<T | string> {
  return scalar<T | string>('an absolute path', options, String, (value, where) => {
    if (!value.startsWith('/')) return { problem: `${where} must be an absolute path, not "${value}"` };
    // `..` in a cgroup path would leave the slice that isolates this instance.
    return value.split('/').includes('..') ? { problem: `${where} must not contain ".."` } : { value };
  });
}

/** Of a PostgreSQL database. What is wrong with it is said here, where line and column are known. */
export function databaseUri<T extends Optional<string>>(options: FieldOptions<T>): Field<T | string> {
  return scalar<T | string>('`postgresql://USER@HOST/DATABASE`', options, String, parseDatabaseUri);
}

/** A database, a folder, or the standard output. */
export function eventsUri<T extends Optional<string>>(options: FieldOptions<T>): Field<T | string> {
  const what = '`postgresql://…`, `file:///folder` or `stdout://`';
  return scalar<T | string>(what, options, String, (value, where) => {
    if (value === 'stdout://') return { value };
    if (!/^file:/.test(value)) return parseDatabaseUri(value, where);
    const url = URL.canParse(value) ? new URL(value) : undefined;
    if (url?.host === '' && url.search === '' && url.hash === '' && url.pathname.length > 1) return { value };
    return { problem: `${where} must be file:///FOLDER, with three slashes and nothing behind the folder` };
  });
}

function parseDatabaseUri(value: string, where: string): Parsed<string> {
  const parsed = parsePostgresUri(value);
  return parsed.ok ? { value } : { problem: `${where} ${parsed.problem}` };
}

/** A list; one value alone is taken as a list of one. */
export function list<T>(
  item: Field<T>,
  options: Omit<FieldOptions<readonly T[]>, 'default'>,
): Field<readonly T[]> {
  const { doc, notYet, shown } = options;
  return {
    typeName: `a list: ${item.typeName}`,
    doc,
    shownDefault: shown,
    ...(notYet === undefined ? {} : { notYet }),
    ...(item.fields === undefined ? {} : { fields: item.fields }),
    read(node, { reader, path: where, anchor }) {
      if (node === undefined) return [];
      const items = isSeq(node) ? node.items.map((entry) => reader.resolve(entry)) : [node];
      return items.map((entry, i) =>
        item.read(entry, { reader, path: isSeq(node) ? `${where}[${i}]` : where, anchor }),
      );
    },
  };
}

/** Names of the operator's own choosing → text. */
export function textMap(
  options: Omit<FieldOptions<Readonly<Record<string, string>>>, 'default'>,
): Field<Readonly<Record<string, string>>> {
  const { doc, notYet } = options;
  return {
    typeName: 'a map: name: text',
    doc,
    shownDefault: undefined,
    ...(notYet === undefined ? {} : { notYet }),
    read(node, { reader, path: where }) {
      if (node === undefined) return {};
      if (!isMap(node)) {
        reader.problem(reader.position(node), `${where} must be a map of names to text`);
        return {};
      }
      const entries = node.items.map((pair) => {
        const value = reader.resolve(pair.value);
        if (!isScalar(value))
          reader.problem(reader.keyPosition(pair), `${where}.${keyText(pair.key)} must be text`);
        return [keyText(pair.key), isScalar(value) ? scalarText(value) : ''] as const;
      });
      return Object.fromEntries(entries);
    },
  };
}

type Values<F> = { readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };

export interface Section<F> extends Field<Values<F>> {
  readonly fields: Readonly<Record<string, Field<unknown>>>;
}

/** A map of known keys. Anything else in it is a mistake, and is called one. */
export function section<F extends Readonly<Record<string, Field<never> | Field<unknown>>>>(
  fields: F,
  options: { doc: string; notYet?(): boolean },
): Section<F> {
  const known = fields as unknown as Readonly<Record<string, Field<unknown>>>;
  return {
    typeName: 'a section',
    doc: options.doc,
    shownDefault: undefined,
    ...(options.notYet === undefined ? {} : { notYet: options.notYet }),
    fields: known,
    read(node, place) {
      const found = new Map<string, { key: unknown; value: Node | undefined }>();
      if (isMap(node)) collectKeys(node, known, place, found);
      else if (node !== undefined)
        place.reader.problem(
          place.reader.position(node),
          `${place.path || 'the file'} must be a section of keys`,
        );
      const values = Object.entries(known).map(([name, field]) => [
        name,
        readKey(name, field, found.get(name), place),
      ]);
      return Object.fromEntries(values) as Values<F>;
    },
  };
}

function collectKeys(
  node: Node,
  known: Readonly<Record<string, Field<unknown>>>,
  { reader, path: where }: Place,
  found: Map<string, { key: unknown; value: Node | undefined }>,
): void {
  if (!isMap(node)) return;
  for (const pair of node.items) {
    const name = keyText(pair.key);
    if (Object.hasOwn(known, name)) {
      found.set(name, { key: pair.key, value: reader.resolve(pair.value) });
      continue;
    }
    const near = nearestKey(name, Object.keys(known));
    const inside = where === '' ? '' : ` in ${where}`;
    reader.problem(reader.keyPosition(pair), `unknown key "${name}"${inside}${didYouMean(near)}`);
  }
}

function readKey(
  name: string,
  field: Field<unknown>,
  found: { key: unknown; value: Node | undefined } | undefined,
  place: Place,
): unknown {
  const { reader } = place;
  const where = place.path === '' ? name : `${place.path}.${name}`;
  const value = field.read(found?.value, { reader, path: where, anchor: found?.key ?? place.anchor });
  if (found?.value !== undefined) reader.given.set(where, reader.position(found.key));
  if (found?.value !== undefined && field.notYet?.(value) === true) {
    const message = `${where} is accepted, but not yet in effect in this version`;
    reader.warnings.push({ code: 'not_in_effect', key: where, message, ...reader.position(found.key) });
  }
  return value;
}

function scalarText(node: Node): string {
  if (!isScalar(node)) return '';
  return typeof node.value === 'string' ? node.value : (node.source ?? String(node.value));
}

function keyText(key: unknown): string {
  return isScalar(key) ? scalarText(key) : String(key);
}

function didYouMean(near: string | undefined): string {
  return near === undefined ? '' : `; did you mean "${near}"?`;
}
