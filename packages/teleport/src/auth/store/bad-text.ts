// Texts that not every database can hold, refused by every store: what works on one must work on the other.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Write } from './store.ts';

/** PostgreSQL's indexes hold no more than 2,704 bytes of a key. */
const maxKeyBytes = 2_000;

/** NUL ends a text for PostgreSQL; half a surrogate pair has no UTF-8 and would come back as another character. */
export function refuseBadText(...texts: readonly string[]): void {
  if (texts.every((text) => !text.includes('\0') && text.isWellFormed())) return;
  throw new AppError(
    'bad_input',
    'store.bad_text',
    'A text holds a NUL character, or half of a surrogate pair.',
  );
}

export function refuseBadWrites(writes: readonly Write[]): void {
  for (const write of writes) {
    refuseBadText(write.key, write.type === 'put' ? write.value : '');
    if (Buffer.byteLength(write.key) <= maxKeyBytes) continue;
    throw new AppError('bad_input', 'store.key_too_long', `A key has more than ${maxKeyBytes} bytes.`);
  }
}
