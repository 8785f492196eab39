// `tctl get`, `create`, `rm`: users and roles as documents.
import { readFile } from 'node:fs/promises';
import { text as streamText } from 'node:stream/consumers';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Auth } from '../../auth/auth.ts';
import { readResource, writeResource } from '../../auth/resource.ts';
import { parseYamlDocuments, toYaml } from '../../config/yaml-text.ts';
import { print, printJson } from '../output.ts';
import { oneFormatOf } from './format.ts';
import { withLocalCluster } from './local-cluster.ts';

type Kind = 'user' | 'role';

export async function getAction(
  config: string | undefined,
  resource: string,
  flags: { format: string },
): Promise<void> {
  const format = oneFormatOf(flags.format, ['yaml', 'json', 'text']);
  const { kind, name } = parseReference(resource);
  await withLocalCluster(config, async ({ auth }) => {
    const documents = await documentsOf(auth, kind, name);
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
  const documents = parseYamlDocuments(await textOf(file), source).filter((document) => document !== null);
  // All are read before the first is written: a mistake in the last one changes nothing.
  const resources = documents.map((document, i) =>
    readResource(document, `${source}, document ${i + 1}`, new Date()),
  );
  if (resources.length === 0)
    throw new AppError('bad_input', 'cli.no_documents', `${source} holds no document.`);
  await withLocalCluster(config, async ({ auth }) => {
    for (const { kind, value } of resources) {
      const expected = flags.force ? 'overwrite' : 'create';
      if (kind === 'role') await auth.putRole(value, expected);
      else await auth.putUser(value, expected);
      print(`${kind} "${value.name}" has been ${flags.force ? 'written' : 'created'}.`);
    }
  });
}

export async function removeAction(config: string | undefined, resource: string): Promise<void> {
  const { kind, name } = parseReference(resource);
  if (name === undefined) throw badReference(resource);
  await withLocalCluster(config, async ({ auth }) => {
    await (kind === 'role' ? auth.deleteRole(name) : auth.deleteUser(name));
    print(`${kind} "${name}" has been deleted.`);
  });
}

async function documentsOf(
  auth: Auth,
  kind: Kind,
  name: string | undefined,
): Promise<Record<string, unknown>[]> {
  if (kind === 'role') {
    const roles = name === undefined ? await auth.roles() : [await auth.role(name)];
    return roles.map(({ value, revision }) => writeResource({ kind, value }, revision));
  }
  const users = name === undefined ? await auth.users() : [await auth.user(name)];
  return users.map(({ value, revision }) => writeResource({ kind, value }, revision));
}

/** `roles`, `role`, `role/NAME`. */
function parseReference(text: string): { kind: Kind; name: string | undefined } {
  const [, kind, name] = /^(user|role)s?(?:\/(.+))?$/.exec(text) ?? [];
  if (kind !== 'user' && kind !== 'role') throw badReference(text);
  return { kind, name };
}

function badReference(text: string): AppError {
  return new AppError('bad_input', 'cli.bad_reference', `"${text}" names no resource.`, {
    hint: 'Write users, roles, user/NAME or role/NAME.',
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
