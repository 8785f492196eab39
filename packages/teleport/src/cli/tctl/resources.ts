// `tctl get`, `create`, `edit`, `rm`: resources as documents.
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as streamText } from 'node:stream/consumers';
import {
  type ResourceDocument,
  type ResourceDocumentKind,
  resourceDocument,
  resourceKinds,
} from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { parseYamlDocuments, toYaml } from '../../config/yaml-text.ts';
import { print, printJson } from '../output.ts';
import { type AuthClient, withCluster } from './cluster.ts';
import { oneFormatOf } from './format.ts';

interface Reference {
  readonly kind: ResourceDocumentKind;
  readonly name: string | undefined;
}

export async function getAction(
  config: string | undefined,
  resource: string,
  flags: { format: string; withSecrets: boolean },
): Promise<void> {
  const format = oneFormatOf(flags.format, ['yaml', 'json', 'text']);
  const reference = parseReference(resource);
  await withCluster(config, async ({ client }) => {
    const documents = await documentsOf(client, reference, flags.withSecrets);
    if (format === 'json') printJson(documents);
    else if (documents.length > 0) print(documents.map(toYaml).join('---\n').trimEnd());
  });
}

export async function createAction(
  config: string | undefined,
  file: string | undefined,
  flags: { force: boolean },
): Promise<void> {
  const source = file === undefined || file === '-' ? 'stdin' : file;
  // All are read before the first is written: a mistake in the last one changes nothing.
  const documents = readDocuments(await textOf(file), source);
  if (documents.length === 0)
    throw new AppError('bad_input', 'cli.no_documents', `${source} holds no document.`);
  await withCluster(config, async ({ client }) => {
    for (const document of documents) {
      await put(client, document, flags.force ? 'upsert' : 'create');
      const { kind, metadata } = document;
      print(`${kind} "${metadata.name}" has been ${flags.force ? 'written' : 'created'}.`);
    }
  });
}

export async function removeAction(config: string | undefined, resource: string): Promise<void> {
  const { kind, name } = parseReference(resource);
  if (name === undefined) throw badReference(resource);
  await withCluster(config, async ({ client }) => {
    await client.deleteResource({ params: { kind, name } });
    print(`${kind} "${name}" has been deleted.`);
  });
}

/** The document in the person's editor; written back under its revision, so that nobody's change is lost. */
export async function editAction(config: string | undefined, resource: string): Promise<void> {
  const { kind, name } = parseReference(resource);
  if (name === undefined) throw badReference(resource);
  const folder = await mkdtemp(join(tmpdir(), 'tctl-'));
  const path = join(folder, `${kind}.yaml`);
  try {
    await withCluster(config, async ({ client }) => {
      const before = toYaml(await client.getResource({ params: { kind, name } }));
      await writeFile(path, before, { mode: 0o600 });
      edit(path);
      const after = await readFile(path, 'utf8');
      if (after === before) return print('Nothing was changed.');
      const [document, another] = readDocuments(after, path);
      if (document === undefined || another !== undefined) {
        throw new AppError('bad_input', 'cli.one_document', 'Exactly one document was expected.');
      }
      if (document.kind !== kind || document.metadata.name !== name) {
        throw new AppError('bad_input', 'cli.renamed', 'Kind and name of a resource cannot be edited.', {
          hint: 'To rename it: `tctl get`, `tctl create`, `tctl rm`.',
        });
      }
      await put(client, document, 'update');
      print(`${kind} "${name}" has been updated.`);
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function edit(path: string): void {
  const editor = process.env['TELEPORT_EDITOR'] ?? process.env['VISUAL'] ?? process.env['EDITOR'] ?? 'vi';
  // Through the shell: EDITOR may hold arguments (`code --wait`).
  const { status, error } = spawnSync('/bin/sh', ['-c', `${editor} "$1"`, 'sh', path], { stdio: 'inherit' });
  if (status === 0) return;
  throw new AppError(
    'bad_input',
    'cli.editor',
    `The editor (${editor}) ended with ${error?.message ?? `status ${status}`}; nothing was changed.`,
  );
}

async function documentsOf(
  client: AuthClient,
  { kind, name }: Reference,
  withSecrets: boolean,
): Promise<readonly ResourceDocument[]> {
  const query = { secrets: withSecrets ? 'true' : 'false' } as const;
  if (name !== undefined) return [await client.getResource({ params: { kind, name }, query })];
  return (await client.listResources({ params: { kind }, query })).resources;
}

async function put(
  client: AuthClient,
  document: ResourceDocument,
  mode: 'create' | 'upsert' | 'update',
): Promise<void> {
  const { kind, metadata } = document;
  await client.putResource({ params: { kind, name: metadata.name }, query: { mode }, body: document });
}

function readDocuments(text: string, source: string): ResourceDocument[] {
  return parseYamlDocuments(text, source)
    .filter((document) => document !== null)
    .map((document, i) => checked(document, `${source}, document ${i + 1}`));
}

/** First mistake first; a second one is often its consequence. */
function checked(document: unknown, where: string): ResourceDocument {
  const parsed = resourceDocument.safeParse(document);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const path = issue?.path.join('.') ?? '';
  const unknownKind = path === 'kind' ? ` The kinds are ${resourceKinds.join(', ')}.` : '';
  throw new AppError(
    'bad_input',
    'auth.bad_resource',
    `${where}: ${path === '' ? '' : `${path}: `}${issue?.message ?? 'not a resource'}.${unknownKind}`,
  );
}

const aliases: Readonly<Record<string, ResourceDocumentKind>> = {
  ca: 'cert_authority',
  cas: 'cert_authority',
  proxies: 'proxy',
  cert_authorities: 'cert_authority',
};

/** `roles`, `role`, `role/NAME`. */
function parseReference(text: string): Reference {
  const at = text.indexOf('/');
  const word = (at < 0 ? text : text.slice(0, at)).toLowerCase();
  const name = at < 0 ? undefined : text.slice(at + 1);
  const kind = aliases[word] ?? resourceKinds.find((each) => each === word || `${each}s` === word);
  if (kind === undefined || name === '') throw badReference(text);
  return { kind, name };
}

function badReference(text: string): AppError {
  return new AppError('bad_input', 'cli.bad_reference', `"${text}" names no resource.`, {
    hint: `Write a kind or KIND/NAME, such as roles or user/alice. The kinds are ${resourceKinds.join(', ')}.`,
  });
}

async function textOf(file: string | undefined): Promise<string> {
  if (file === undefined || file === '-') return streamText(process.stdin);
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new AppError('not_found', 'cli.unreadable_file', `${file} cannot be read.`, { cause });
  }
}
