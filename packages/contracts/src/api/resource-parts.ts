// What every resource has: its name and the head around it.
import { z } from 'zod';

// A name becomes a certificate's key id and part of log lines: no blanks, no control characters, no leading dash.
export const resourceName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$/,
    'must be 1 to 128 letters, digits or ._@+- and begin with a letter or digit',
  );

export const labels = z.record(z.string().max(256), z.string().max(1024));

export const metadata = z.strictObject({
  name: resourceName,
  description: z.string().max(1024).optional(),
  labels: labels.optional(),
  /** After it the resource is gone. */
  expires: z.iso.datetime().optional(),
  /** Opaque; a write that carries it succeeds only when nobody wrote in between. */
  revision: z.string().optional(),
});
