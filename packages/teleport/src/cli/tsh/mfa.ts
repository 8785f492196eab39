// `tsh mfa`: a person's own second factors.
import type { AuthRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import type { Client } from '@sallyport/contracts/api/client.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { notice, print, printJson, table, visible } from '../output.ts';
import { authClient } from './auth-client.ts';
import { inBrowser } from './mfa-browser.ts';
import { type Profile, requireProfile } from './profile.ts';
import { ask } from './prompt.ts';

type Auth = Client<AuthRoutes>;

export interface MfaFlags {
  readonly proxy?: string;
}

export interface MfaAddFlags extends MfaFlags {
  readonly name?: string;
  readonly type?: string;
  readonly allowPasswordless: boolean;
}

export async function mfaListAction(flags: MfaFlags & { readonly format: string }): Promise<void> {
  await withAuth(flags, async (client) => {
    const { devices } = await client.listMfaDevices();
    if (flags.format === 'json') return printJson(devices);
    const rows = devices.map(({ name, type, passwordless, added }) => [
      name,
      type,
      passwordless === true ? 'yes' : 'no',
      added ?? '',
    ]);
    print(table(['Name', 'Type', 'Passwordless', 'Added (UTC)'], rows));
  });
}

export async function mfaAddAction(flags: MfaAddFlags): Promise<void> {
  await withAuth(flags, async (client, profile) => {
    const { devices, offers } = await client.listMfaDevices();
    const type = kindOf(flags, offers);
    const name = flags.name ?? (await ask('Name of the new device: '));
    const hasApp = devices.some((device) => device.type === 'totp');
    const otp = hasApp ? await proof(devices.some((one) => one.type === 'webauthn')) : undefined;
    const added = await (type === 'totp'
      ? addApp(client, profile, { name, otp, byKey: otp === undefined && devices.length > 0 })
      : addKey(client, profile, { name, passwordless: flags.allowPasswordless, otp }));
    print(`The second factor "${visible(added)}" has been added.`);
  });
}

interface NewDevice {
  readonly name: string;
  readonly otp: string | undefined;
}

async function addApp(
  client: Auth,
  profile: Profile,
  { name, otp, byKey }: NewDevice & { readonly byKey: boolean },
): Promise<string> {
  const begun = byKey
    ? await inBrowser(client, profile, { type: 'add_app', name })
    : await client.beginTotpDevice({ body: { name, ...(otp === undefined ? {} : { otp }) } });
  if (!('secret' in begun)) return name;
  const { id, secret, url } = begun;
  notice(`Enter this into your authenticator app:\n  ${visible(secret)}\n  ${visible(url)}`);
  const first = await ask('Enter the code it shows: ');
  const { device } = await client.finishTotpDevice({
    params: { id },
    body: { otp: first.replace(/\s/g, '') },
  });
  return device.name;
}

async function addKey(
  client: Auth,
  profile: Profile,
  { name, passwordless, otp }: NewDevice & { readonly passwordless: boolean },
): Promise<string> {
  const task = { type: 'add_device' as const, name, passwordless, ...(otp === undefined ? {} : { otp }) };
  const result = await inBrowser(client, profile, task);
  return result.state === 'changed' ? result.device.name : name;
}

export async function mfaRemoveAction(name: string, flags: MfaFlags): Promise<void> {
  await withAuth(flags, async (client, profile) => {
    const { devices } = await client.listMfaDevices();
    const hasApp = devices.some(({ type }) => type === 'totp');
    const otp = hasApp ? await proof(devices.some(({ type }) => type === 'webauthn')) : undefined;
    if (otp === undefined) await inBrowser(client, profile, { type: 'remove_device', name });
    else await client.removeMfaDevice({ body: { name, otp } });
    print(`The second factor "${visible(name)}" has been removed.`);
  });
}

/** undefined: by a security key. */
async function proof(either: boolean): Promise<string | undefined> {
  const text = await ask(
    `Enter a code of a device you have${either ? ' (nothing: security key, in the browser)' : ''}: `,
  );
  const otp = text.replace(/\s/g, '');
  return otp === '' && either ? undefined : otp;
}

function kindOf({ type, allowPasswordless }: MfaAddFlags, offers: readonly string[]): 'totp' | 'webauthn' {
  const wanted = type?.toLowerCase() ?? (allowPasswordless || !offers.includes('totp') ? 'webauthn' : 'totp');
  if (wanted !== 'totp' && wanted !== 'webauthn')
    throw new AppError(
      'bad_input',
      'cli.bad_choice',
      `--type must be totp or webauthn, not "${visible(wanted)}".`,
    );
  if (allowPasswordless && wanted === 'totp')
    throw new AppError(
      'bad_input',
      'cli.bad_choice',
      'An authenticator app cannot log in by itself: --type=webauthn can.',
    );
  return wanted;
}

async function withAuth(
  { proxy }: MfaFlags,
  work: (client: Auth, profile: Profile) => Promise<void> | void,
): Promise<void> {
  const profile = await requireProfile(proxy);
  const auth = await authClient(profile);
  try {
    await work(auth.client, profile);
  } finally {
    auth.close();
  }
}
