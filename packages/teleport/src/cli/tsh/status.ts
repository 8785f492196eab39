// `tsh status`, `tsh logout`: the profile, shown and removed.
import { AppError, exitCodes } from '@sallyport/contracts/errors.ts';
import { formatDuration } from '../../config/duration.ts';
import { print, printJson, styled, visible } from '../output.ts';
import { removeFromAgent } from './agent.ts';
import { type Profile, readProfile, removeProfile, requireProfile } from './profile.ts';

export async function statusAction(flags: {
  readonly proxy?: string;
  readonly format: string;
}): Promise<void> {
  const profile = await readProfile(flags.proxy);
  if (profile === undefined) return void (await requireProfile(flags.proxy));
  printStatus(profile, flags.format);
  // Shown all the same: a script learns from the status that it must log in again.
  if (Date.parse(profile.valid_until) <= Date.now()) process.exitCode = exitCodes.denied;
}

export function printStatus(profile: Profile, format: string): void {
  if (format === 'json') {
    printJson({
      profile_url: `https://${profile.web_proxy_addr}`,
      username: profile.user,
      cluster: profile.cluster,
      roles: profile.roles,
      logins: profile.logins,
      valid_until: profile.valid_until,
    });
    return;
  }
  if (format !== 'text') {
    throw new AppError('bad_input', 'cli.bad_format', `--format must be text or json, not "${format}".`);
  }
  const rows: readonly (readonly [string, string])[] = [
    ['Profile URL', `https://${profile.web_proxy_addr}`],
    ['Logged in as', profile.user],
    ['Cluster', profile.cluster],
    ['Roles', profile.roles.join(', ')],
    ['Logins', profile.logins.join(', ')],
    ['Valid until', life(profile.valid_until)],
  ];
  for (const [i, [label, value]] of rows.entries()) {
    print(`${i === 0 ? '>' : ' '} ${styled('bold', `${label}:`.padEnd(19))}${visible(value)}`);
  }
}

function life(validUntil: string): string {
  const leftMs = Date.parse(validUntil) - Date.now();
  const local = validUntil.replace(/\.\d+Z$/, 'Z');
  if (leftMs <= 0) return `${local} [EXPIRED]`;
  const minutes = Math.floor(leftMs / 60_000) * 60_000;
  return `${local} [valid for ${minutes === 0 ? 'less than a minute' : formatDuration(minutes)}]`;
}

export async function logoutAction(flags: { readonly proxy?: string }): Promise<void> {
  const profile = await readProfile(flags.proxy);
  if (profile === undefined) {
    print('You are not logged in.');
    return;
  }
  await removeFromAgent(profile);
  await removeProfile(profile);
  print(`Logged out ${visible(profile.user)} from ${profile.web_proxy_addr}.`);
}
