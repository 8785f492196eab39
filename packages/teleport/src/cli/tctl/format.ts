// Flags with a fixed set of values, the same everywhere.
import { AppError } from '@sallyport/contracts/errors.ts';

export function oneFormatOf<const T extends string>(
  given: string,
  known: readonly T[],
  flag = '--format',
): T {
  const format = known.find((each) => each === given);
  if (format !== undefined) return format;
  throw new AppError(
    'bad_input',
    'cli.unknown_format',
    `${flag} must be ${known.join(' or ')}, not "${given}".`,
  );
}
