// The kernel package's errors as ours: contracts and kernel stand on one shelf and do not know each other.
import { AppError } from '@sallyport/contracts/errors.ts';
import { RecorderError } from '@sallyport/kernel/recorder-error.ts';

export function fromKernel(thrown: unknown): AppError {
  if (!(thrown instanceof RecorderError)) return AppError.from(thrown);
  return new AppError(thrown.kind, thrown.code.replaceAll('_', '.'), thrown.message, {
    hint: thrown.hint,
    cause: thrown,
  });
}
