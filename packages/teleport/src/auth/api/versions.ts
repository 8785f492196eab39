// Whether two versions of the product may talk to each other: at most one major version apart.
import { AppError } from '@sallyport/contracts/errors.ts';

/** The caller's version, in a request; the server's, in every answer. */
export const versionHeader = 'x-sallyport-version';

/** `undefined`: go ahead. What is no version (a script without the header) is not judged. */
export function versionRefusal(theirs: string | undefined, ours: string): AppError | undefined {
  const their = majorOf(theirs);
  const our = majorOf(ours);
  if (their === undefined || our === undefined || Math.abs(their - our) <= 1) return undefined;
  const change = their < our ? 'Upgrade' : 'Downgrade';
  return new AppError(
    'unsupported',
    'api.version',
    `This client is version ${theirs}, the cluster is version ${ours}: more than one major version apart.`,
    { hint: `${change} the client to version ${our} of Sallyport.` },
  );
}

function majorOf(version: string | undefined): number | undefined {
  const major = /^v?(\d{1,4})\.\d{1,6}\.\d{1,6}(?:[-+][0-9A-Za-z.+-]{1,64})?$/.exec(version ?? '')?.[1];
  return major === undefined ? undefined : Number(major);
}
