// `tctl users …`
import type { UserDocument } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { parseDuration } from '../../config/duration.ts';
import { print, printJson, table } from '../output.ts';
import { type AuthClient, withCluster } from './cluster.ts';
import { oneFormatOf } from './format.ts';

interface Format {
  readonly format: string;
}

export async function addUser(
  config: string | undefined,
  name: string,
  flags: Format & { logins: string[]; roles?: string[]; ttl?: string },
): Promise<void> {
  const format = oneFormatOf(flags.format, ['text', 'json']);
  const ttl_ms = ttlOf(flags.ttl);
  await withCluster(config, async ({ client }) => {
    const user = await putUser(client, 'create', {
      kind: 'user',
      version: 'v2',
      metadata: { name },
      spec: { roles: flags.roles ?? ['access'], traits: { logins: flags.logins } },
    });
    const invite = await client.createInvite({ params: { name }, body: { purpose: 'invite', ttl_ms } });
    if (format === 'json')
      return printJson({ ...shown(user), invite_url: invite.url, invite_expires: invite.expires });
    print(
      `User "${name}" has been created with roles ${user.spec.roles.join(', ')} and logins ${loginsOf(user).join(', ')}.`,
    );
    print(
      `Share this link with the user: it sets password and second factor, works once, and ends at ${invite.expires}.\n${invite.url}\n`,
    );
    print(
      `Without a proxy, issue a certificate with:\n  tctl auth sign --user=${name} --out=${name} --ttl=1h`,
    );
  });
}

export async function resetUser(
  config: string | undefined,
  name: string,
  flags: Format & { ttl?: string },
): Promise<void> {
  const format = oneFormatOf(flags.format, ['text', 'json']);
  const ttl_ms = ttlOf(flags.ttl);
  await withCluster(config, async ({ client }) => {
    const invite = await client.createInvite({ params: { name }, body: { purpose: 'reset', ttl_ms } });
    if (format === 'json') return printJson({ name, reset_url: invite.url, reset_expires: invite.expires });
    print(
      `User "${name}" has been reset. Share this link with the user: it sets password and second factor anew, works once, and ends at ${invite.expires}.\n${invite.url}`,
    );
  });
}

export async function updateUser(
  config: string | undefined,
  name: string,
  flags: { setRoles?: string[]; setLogins?: string[] },
): Promise<void> {
  if (flags.setRoles === undefined && flags.setLogins === undefined) {
    throw new AppError('bad_input', 'cli.nothing_to_do', 'Nothing to change was given.', {
      hint: 'Use --set-roles, --set-logins or both.',
    });
  }
  await withCluster(config, async ({ client }) => {
    const user = await getUser(client, name);
    const traits = { ...user.spec.traits, ...(flags.setLogins && { logins: flags.setLogins }) };
    const { status: _, ...spec } = user.spec;
    // The revision goes along: somebody else's change in between is not overwritten.
    await putUser(client, 'update', {
      ...user,
      spec: { ...spec, roles: flags.setRoles ?? spec.roles, traits },
    });
    print(`User "${name}" has been updated. Certificates issued before keep their logins until they end.`);
  });
}

export async function listUsers(config: string | undefined, flags: Format): Promise<void> {
  const format = oneFormatOf(flags.format, ['text', 'json']);
  await withCluster(config, async ({ client }) => {
    const { resources } = await client.listResources({ params: { kind: 'user' } });
    const users = resources.filter((resource) => resource.kind === 'user');
    if (format === 'json') return printJson(users.map(shown));
    print(
      table(
        ['User', 'Roles', 'Logins'],
        users.map((user) => [user.metadata.name, user.spec.roles.join(','), loginsOf(user).join(',')]),
      ),
    );
  });
}

export async function removeUsers(config: string | undefined, names: readonly string[]): Promise<void> {
  await withCluster(config, async ({ client }) => {
    for (const name of names) {
      await client.deleteResource({ params: { kind: 'user', name } });
      print(`User "${name}" has been deleted.`);
    }
  });
}

async function getUser(client: AuthClient, name: string): Promise<UserDocument> {
  const resource = await client.getResource({ params: { kind: 'user', name } });
  if (resource.kind === 'user') return resource;
  throw new AppError('internal', 'cli.wrong_kind', `The cluster answered with a ${resource.kind}.`);
}

async function putUser(
  client: AuthClient,
  mode: 'create' | 'update',
  document: UserDocument,
): Promise<UserDocument> {
  const { name } = document.metadata;
  const written = await client.putResource({
    params: { kind: 'user', name },
    query: { mode },
    body: document,
  });
  if (written.kind === 'user') return written;
  throw new AppError('internal', 'cli.wrong_kind', `The cluster answered with a ${written.kind}.`);
}

export function ttlOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = parseDuration(text);
  if (ms !== undefined && ms >= 60_000) return ms;
  throw new AppError(
    'bad_input',
    'cli.bad_ttl',
    `--ttl must be a duration of at least 1m, such as 30m or 12h, not "${text}".`,
  );
}

function loginsOf(user: UserDocument): readonly string[] {
  return user.spec.traits?.['logins'] ?? [];
}

function shown(user: UserDocument) {
  return {
    name: user.metadata.name,
    roles: user.spec.roles,
    logins: loginsOf(user),
    created: user.spec.created,
  };
}
