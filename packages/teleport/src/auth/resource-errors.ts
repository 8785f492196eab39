// Why a resource is not there, or not as asked, in words for people.
import { AppError } from '@sallyport/contracts/errors.ts';
import { maskToken } from './join/tokens.ts';

/** What the store refused; `existed`: it was there a moment ago. */
export function explained(
  error: unknown,
  kind: string,
  name: string,
  isNew: boolean,
  existed: boolean,
): unknown {
  if (!(error instanceof AppError) || error.code !== 'store.conflict') return error;
  const shown = kind === 'token' ? maskToken(name) : name;
  if (isNew) return new AppError('conflict', 'auth.already_exists', `There is a ${kind} "${shown}" already.`);
  if (!existed) return missing(kind, name);
  return new AppError(
    'conflict',
    'auth.changed_meanwhile',
    `The ${kind} "${shown}" was changed by somebody else.`,
    {
      hint: 'Get it again and repeat the change.',
    },
  );
}

export function configured(): AppError {
  return new AppError(
    'bad_input',
    'auth.not_writable',
    'The settings of the cluster are not written by people.',
    {
      hint: 'They are those of auth_service in teleport.yaml of the auth host; a change waits for its next start.',
    },
  );
}

export function missing(kind: string, name: string): AppError {
  const shown = kind === 'token' ? maskToken(name) : name;
  return new AppError('not_found', 'auth.not_found', `There is no ${kind} "${shown}".`);
}
