// `tctl users …`
import { AppError } from '@sallyport/contracts/errors.ts';
import type { User } from '../../auth/user.ts';
import { print, printJson, table } from '../output.ts';
import { oneFormatOf } from './format.ts';
import { withLocalCluster } from './local-cluster.ts';

interface Format {
  readonly format: string;
}

export async function addUser(
  config: string | undefined,
  name: string,
  flags: Format & { logins: string[]; roles?: string[] },
): Promise<void> {
  const format = oneFormatOf(flags.format, ['text', 'json']);
  await withLocalCluster(config, async ({ auth }) => {
    const user = await auth.createUser({ name, logins: flags.logins, roles: flags.roles ?? ['access'] });
    if (format === 'json') return printJson(shown(user));
    print(
      `User "${name}" has been created with roles ${user.roles.join(', ')} and logins ${loginsOf(user).join(', ')}.`,
    );
    print(`Issue a certificate with:\n  tctl auth sign --user=${name} --out=${name} --ttl=1h`);
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
  await withLocalCluster(config, async ({ auth }) => {
    const { value, revision } = await auth.user(name);
    const traits =
      flags.setLogins === undefined ? value.traits : { ...value.traits, logins: flags.setLogins };
    await auth.putUser({ ...value, roles: flags.setRoles ?? value.roles, traits }, { revision });
    print(`User "${name}" has been updated. Certificates issued before keep their logins until they end.`);
  });
}

export async function listUsers(config: string | undefined, flags: Format): Promise<void> {
  const format = oneFormatOf(flags.format, ['text', 'json']);
  await withLocalCluster(config, async ({ auth }) => {
    const users = (await auth.users()).map(({ value }) => value);
    if (format === 'json') return printJson(users.map(shown));
    print(
      table(
        ['User', 'Roles', 'Logins'],
        users.map((user) => [user.name, user.roles.join(','), loginsOf(user).join(',')]),
      ),
    );
  });
}

export async function removeUsers(config: string | undefined, names: readonly string[]): Promise<void> {
  await withLocalCluster(config, async ({ auth }) => {
    for (const name of names) {
      await auth.deleteUser(name);
      print(`User "${name}" has been deleted.`);
    }
  });
}

function loginsOf(user: User): readonly string[] {
  return user.traits['logins'] ?? [];
}

function shown(user: User) {
  return { name: user.name, roles: user.roles, logins: loginsOf(user), created: user.created };
}
