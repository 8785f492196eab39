// What a proxy says when it opens a stream through a node's tunnel: the payload of the channel, as JSON. The stream
// itself is raw bytes, as if the node had accepted a connection.
import { z } from 'zod';

export const tunnelOpening = z.object({
  /** Of the person's machine, as the proxy saw it: what the node checks certificates against, and logs. */
  remote: z.strictObject({ host: z.string().max(255), port: z.int().min(0).max(65_535) }),
});
export type TunnelOpening = z.output<typeof tunnelOpening>;
