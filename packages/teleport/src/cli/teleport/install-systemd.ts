// `teleport install systemd`: the unit for this host, to stdout or into a file.
import { accessSync, constants, realpathSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AppError } from '@sallyport/contracts/errors.ts';
import { notice, print } from '../output.ts';
import { systemdUnit } from './systemd-unit.ts';

export interface InstallSystemdFlags {
  readonly output?: string;
  readonly config: string;
  readonly pidFile: string;
  readonly envFile: string;
  readonly fdLimit: string;
  readonly teleportPath?: string;
}

export async function installSystemdAction(flags: InstallSystemdFlags): Promise<void> {
  const fdLimit = Number(flags.fdLimit);
  if (!Number.isSafeInteger(fdLimit) || fdLimit < 1024) {
    throw new AppError(
      'bad_input',
      'cli.bad_number',
      `--fd-limit: "${flags.fdLimit}" is not a number of files.`,
      {
        hint: 'Give at least 1024; a session needs about ten.',
      },
    );
  }
  const { config, pidFile, envFile } = flags;
  const teleport = flags.teleportPath ?? ownProgram(process.env['PATH'] ?? '');
  for (const [flag, path] of Object.entries({ teleportPath: teleport, config, pidFile, envFile })) {
    if (fitsUnit(path)) continue;
    throw new AppError('bad_input', 'cli.bad_path', `${flag}: "${path}" is no path for a unit.`, {
      hint: 'Give an absolute path without blanks, quotes, % or $.',
    });
  }
  const unit = systemdUnit({ teleport, config, pidFile, envFile, fdLimit });
  if (flags.output === undefined || flags.output === 'stdout') return print(unit.trimEnd());
  const path = resolve(flags.output);
  await writeFile(path, unit, { mode: 0o644 }).catch((cause: unknown) => {
    throw new AppError('unavailable', 'cli.cannot_write', `${path} cannot be written.`, {
      cause,
      hint: 'Check that the folder is there and that this user may write to it (root for /etc).',
    });
  });
  notice(`Wrote ${path}. Next:\n  systemctl daemon-reload\n  systemctl enable --now teleport`);
}

/** systemd splits at blanks and expands % and $: better refused than quoted wrongly. */
function fitsUnit(path: string): boolean {
  return isAbsolute(path) && /^[\w/.:@+-]+$/.test(path);
}

/** As people call it: a link on the PATH that leads here outlives an upgrade that moves what it leads to. */
function ownProgram(path: string): string {
  const own = fileURLToPath(new URL('../../../bin/teleport', import.meta.url));
  const candidates = path
    .split(':')
    .filter(isAbsolute)
    .map((dir) => join(dir, 'teleport'));
  return candidates.find((candidate) => leadsTo(candidate, own)) ?? own;
}

function leadsTo(candidate: string, own: string): boolean {
  try {
    accessSync(candidate, constants.X_OK);
    return realpathSync(candidate) === realpathSync(own);
  } catch {
    return false;
  }
}
