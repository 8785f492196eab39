// Lines of a streamed answer: bounded, decoded whole (a character may lie across two chunks), one at a time.
import type { IncomingMessage } from 'node:http';
import { AppError } from '@sallyport/contracts/errors.ts';

/** A resource of 1 MiB, escaped, fits. */
const maxLineBytes = 4 * 2 ** 20;
const newline = 0x0a;

/** Ends when the peer ends the answer; throws what `broken` makes of an error when the link breaks before. */
export async function* readLines(
  response: IncomingMessage,
  broken: (error: unknown) => AppError,
  maxBytes = maxLineBytes,
): AsyncGenerator<string> {
  let held: Buffer[] = [];
  let heldBytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      let rest = chunk;
      for (let end = rest.indexOf(newline); end !== -1; end = rest.indexOf(newline)) {
        yield Buffer.concat([...held, rest.subarray(0, end)]).toString('utf8');
        held = [];
        heldBytes = 0;
        rest = rest.subarray(end + 1);
      }
      heldBytes += rest.length;
      if (heldBytes > maxBytes)
        throw new AppError('limit', 'api.too_long', 'A line of the answer is too long.');
      if (rest.length > 0) held.push(rest);
    }
  } catch (error) {
    throw broken(error);
  } finally {
    // The reader left, or the line was too long: nobody waits for the rest.
    response.destroy();
  }
}
