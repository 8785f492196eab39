// Owns src/wire.gen.ts and build/wire-hash.h: what bpf/wire.h says, read back from the BTF of the built object,
// so that the compiler and not a person tells TypeScript where a field lies.
//
//   node gen-wire.ts --object build/session.bpf.o --header bpf/wire.h --ts src/wire.gen.ts --hash build/wire-hash.h
//   node gen-wire.ts … --check     writes nothing; exits 1 when a file is stale
//   an empty path leaves that file out
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

interface BtfType {
  id: number;
  kind: string;
  name: string;
  type_id?: number;
  size?: number;
  members?: { name: string; type_id: number; bits_offset: number }[];
  values?: { name: string; val: number }[];
  nr_elems?: number;
}
interface Field {
  name: string;
  offset: number;
  size: number;
}
interface Struct {
  name: string;
  size: number;
  fields: Field[];
}
interface Enumeration {
  name: string;
  values: { name: string; value: number }[];
}

const ANCHOR = 'anchor_';
const POINTER_BYTES = 8;

function readBtf(object: string): Map<number, BtfType> {
  const text = execFileSync('bpftool', ['btf', 'dump', 'file', object, '-j'], {
    maxBuffer: 64 << 20,
    encoding: 'utf8',
  });
  const dump: { types: BtfType[] } = JSON.parse(text);
  return new Map(dump.types.map((type) => [type.id, type]));
}

function sizeOf(types: Map<number, BtfType>, id: number): number {
  const type = types.get(id);
  if (type === undefined) throw new Error(`BTF names type ${id} but does not hold it`);
  if (type.kind === 'ARRAY') return (type.nr_elems ?? 0) * sizeOf(types, type.type_id ?? 0);
  if (type.kind === 'PTR') return POINTER_BYTES;
  if (type.size !== undefined) return type.size;
  return sizeOf(types, type.type_id ?? 0);
}

/** The types that global variables named anchor_* point at, in the order of their names. */
function anchored(types: Map<number, BtfType>): BtfType[] {
  const found: BtfType[] = [];
  for (const variable of types.values()) {
    if (variable.kind !== 'VAR' || !variable.name.startsWith(ANCHOR)) continue;
    const pointer = types.get(variable.type_id ?? 0);
    const target = types.get(pointer?.type_id ?? 0);
    if (target === undefined || target.name !== variable.name.slice(ANCHOR.length) || target.kind === 'FWD')
      throw new Error(`${variable.name} does not point at a complete type of that name`);
    found.push(target);
  }
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function toStruct(types: Map<number, BtfType>, type: BtfType): Struct {
  const fields = (type.members ?? []).map((member) => ({
    name: member.name,
    offset: member.bits_offset / 8,
    size: sizeOf(types, member.type_id),
  }));
  checkNoPadding(type.name, fields, type.size ?? 0);
  return { name: type.name, size: type.size ?? 0, fields };
}

/** Implicit padding would carry kernel memory to disk, and differ between compilers. */
function checkNoPadding(name: string, fields: Field[], size: number): void {
  let end = 0;
  for (const field of fields) {
    if (field.offset !== end)
      throw new Error(`struct ${name}: ${field.offset - end} bytes of padding before ${field.name}`);
    end = field.offset + field.size;
  }
  if (end !== size) throw new Error(`struct ${name}: ${size - end} bytes of padding at its end`);
}

function toEnumeration(type: BtfType): Enumeration {
  return { name: type.name, values: (type.values ?? []).map(({ name, val }) => ({ name, value: val })) };
}

/** `#define NAME <integer>` lines; macros are not in BTF. */
function readConstants(header: string): { name: string; value: bigint }[] {
  const pattern = /^#define ([A-Z][A-Z0-9_]+)\s+(0x[0-9a-fA-F]+|\d+)[uUlL]*(?=\s|$)/gm;
  return [...header.matchAll(pattern)].map(([, name, digits]) => ({
    name: String(name),
    value: BigInt(String(digits)),
  }));
}

function checkComplete(header: string, names: Set<string>): void {
  for (const [, keyword, name] of header.matchAll(/^(struct|enum) ([a-z0-9_]+) \{/gm))
    if (!names.has(String(name))) throw new Error(`${keyword} ${name} of wire.h has no anchor in anchors.h`);
}

function canonical(
  structs: Struct[],
  enums: Enumeration[],
  constants: { name: string; value: bigint }[],
): string {
  const lines: string[] = [];
  for (const { name, size, fields } of structs) {
    lines.push(`struct ${name} ${size}`);
    for (const field of fields) lines.push(`  ${field.name} ${field.offset} ${field.size}`);
  }
  for (const { name, values } of enums) {
    lines.push(`enum ${name}`);
    for (const value of values) lines.push(`  ${value.name} ${value.value}`);
  }
  for (const { name, value } of constants) lines.push(`define ${name} ${value}`);
  return `${lines.join('\n')}\n`;
}

function renderStruct({ name, size, fields }: Struct): string {
  const offsets = fields.map((field) => `  ${field.name}: ${field.offset},`).join('\n');
  return `/** struct ${name}: SIZE and the offset of each field, in bytes. */
export const ${name} = {
  SIZE: ${size},
${offsets}
} as const;
`;
}

function renderEnum({ name, values }: Enumeration): string {
  const lines = values.map((value) => `  ${value.name}: ${value.value},`).join('\n');
  return `export const ${name} = {
${lines}
} as const;
`;
}

function renderConstant({ name, value }: { name: string; value: bigint }): string {
  const literal = value > BigInt(Number.MAX_SAFE_INTEGER) ? `0x${value.toString(16)}n` : String(value);
  return `export const ${name} = ${literal};`;
}

function generate(objectPath: string, headerPath: string): { ts: string; hash: string } {
  const types = readBtf(objectPath);
  const header = readFileSync(headerPath, 'utf8');
  const found = anchored(types);
  checkComplete(header, new Set(found.map((type) => type.name)));
  const structs = found.filter((type) => type.kind === 'STRUCT').map((type) => toStruct(types, type));
  const enums = found.filter((type) => type.kind === 'ENUM').map(toEnumeration);
  const constants = readConstants(header);
  const hash = createHash('sha256')
    .update(canonical(structs, enums, constants))
    .digest('hex');
  const crossing = structs.filter((struct) => header.includes(`\nstruct ${struct.name} {`));
  const ts = [
    '// Generated by tools/gen-wire.ts from the BTF of build/session.bpf.o. Do not edit: change bpf/wire.h.\n',
    `/** SHA-256 over every layout, hex; the recorder's hello carries the same. */\nexport const WIRE_HASH = '${hash}';\n`,
    `${constants.map(renderConstant).join('\n')}\n`,
    ...enums.map(renderEnum),
    ...crossing.map(renderStruct),
  ].join('\n');
  const bytes = hash
    .match(/../g)
    ?.map((byte) => `0x${byte}`)
    .join(', ');
  const guard = '/* Generated by tools/gen-wire.ts. */\n';
  return { ts, hash: `${guard}#define WIRE_HASH_BYTES { ${bytes} }\n#define WIRE_HASH_HEX "${hash}"\n` };
}

const { values } = parseArgs({
  options: {
    object: { type: 'string', default: 'build/session.bpf.o' },
    header: { type: 'string', default: 'bpf/wire.h' },
    ts: { type: 'string', default: 'src/wire.gen.ts' },
    hash: { type: 'string', default: 'build/wire-hash.h' },
    check: { type: 'boolean', default: false },
  },
});
const { ts, hash } = generate(values.object, values.header);
for (const [path, text] of [
  [values.ts, ts],
  [values.hash, hash],
] as const) {
  if (path === '' || (existsSync(path) && readFileSync(path, 'utf8') === text)) continue;
  if (values.check) {
    console.error(`${path} is stale: run \`make -C packages/kernel wire\` and commit the result`);
    process.exitCode = 1;
  } else writeFileSync(path, text);
}
