// A complete teleport.yaml, printed from the schema: what is active is the minimum, the rest is there as comments
// with its default.
import type { Field } from './schema.ts';
import { teleportYaml } from './teleport-yaml.ts';

export interface TemplateValues {
  readonly nodename: string;
  readonly clusterName: string;
  readonly dataDir: string;
}

/** Dotted keys that are set, with their values as YAML. */
export type ActiveKeys = Readonly<Record<string, string>>;

/** Loads as it is, and means what it says. `more` wins over what is set anyway. */
export function configTemplate(values: TemplateValues, more: ActiveKeys = {}): string {
  return templateOf({
    version: 'v3',
    'teleport.nodename': JSON.stringify(values.nodename),
    'teleport.data_dir': JSON.stringify(values.dataDir),
    'auth_service.enabled': 'true',
    'auth_service.cluster_name': JSON.stringify(values.clusterName),
    'ssh_service.enabled': 'true',
    'ssh_service.listen_addr': '0.0.0.0:3022',
    'ssh_service.enhanced_recording.enabled': 'false',
    'proxy_service.enabled': 'false',
    ...more,
  });
}

/** Of a host that joins a cluster: the ssh service alone. `more` says how it joins, by keys below `teleport`. */
export function nodeTemplate(values: Omit<TemplateValues, 'clusterName'>, more: ActiveKeys): string {
  return templateOf({
    version: 'v3',
    'teleport.nodename': JSON.stringify(values.nodename),
    'teleport.data_dir': JSON.stringify(values.dataDir),
    'auth_service.enabled': 'false',
    'ssh_service.enabled': 'true',
    'ssh_service.enhanced_recording.enabled': 'false',
    'proxy_service.enabled': 'false',
    ...more,
  });
}

function templateOf(active: ActiveKeys): string {
  const intro = [
    '# teleport.yaml of this host. Lines that begin with "#" and a key show the default of that key.',
    '# Every key is described in docs/reference/config.md.',
  ];
  return `${[...intro, ...sectionLines(teleportYaml.fields, '', '', active)].join('\n')}\n`;
}

type Fields = Readonly<Record<string, Field<unknown>>>;

function sectionLines(fields: Fields, prefix: string, indent: string, active: ActiveKeys): string[] {
  return Object.entries(fields).flatMap(([name, field]) => {
    const path = prefix === '' ? name : `${prefix}.${name}`;
    // auth_servers belongs to v1 and v2; this file is v3.
    if (path === 'teleport.auth_servers') return [];
    const top = indent === '' ? [''] : [];
    const comment = `${indent}# ${field.doc}`;
    if (!field.fields || isList(field)) return [...top, comment, keyLine(path, name, field, indent, active)];
    if (!Object.keys(active).some((key) => key.startsWith(`${path}.`)))
      return [...top, comment, `${indent}# ${name}:`, ...inactive(field.fields, `${indent}#   `)];
    return [...top, comment, `${indent}${name}:`, ...sectionLines(field.fields, path, `${indent}  `, active)];
  });
}

function keyLine(
  path: string,
  name: string,
  field: Field<unknown>,
  indent: string,
  active: ActiveKeys,
): string {
  const value = active[path];
  return value === undefined ? `${indent}# ${name}: ${shown(field)}`.trimEnd() : `${indent}${name}: ${value}`;
}

/** A section nobody asked for, as comments, without the descriptions. */
function inactive(fields: Fields, indent: string): string[] {
  return Object.entries(fields).flatMap(([name, field]) =>
    field.fields && !isList(field)
      ? [`${indent}${name}:`, ...inactive(field.fields, `${indent}  `)]
      : [`${indent}${name}: ${shown(field)}`.trimEnd()],
  );
}

function shown({ shownDefault, typeName }: Field<unknown>): string {
  if (shownDefault === undefined || shownDefault === '') return isList({ typeName }) ? '[]' : '';
  return /^[\w./:-]+$/.test(shownDefault) ? shownDefault : '';
}

function isList({ typeName }: Pick<Field<unknown>, 'typeName'>): boolean {
  return typeName.startsWith('a list');
}
