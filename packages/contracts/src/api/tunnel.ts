// What a proxy says when it opens a stream through a node's tunnel: the payload of the channel, as JSON. The stream
// itself is raw bytes, as if the node had accepted a connection.
import { z } from 'zod';

export const tunnelChannel = 'teleport-transport';
/**
 * A channel of this type asks the node to dial again and to keep this tunnel as it is: another process serves the
 * proxy's ports from now on. It is refused in any case: by nodes that know it after they have heard it.
 */
export const redialChannel = 'teleport-redial';
/** Protocols a proxy's web port tells apart by ALPN (RFC 7301). */
export const alpnProtocols = {
  /** TLS goes through to an auth server untouched. */
  auth: 'teleport-auth@',
  ssh: 'teleport-proxy-ssh',
  tunnel: 'teleport-reversetunnel',
} as const;

export const tunnelOpening = z.object({
  /** Of the person's machine, as the proxy saw it: what the node checks certificates against, and logs. */
  remote: z.strictObject({ host: z.string().max(255), port: z.int().min(0).max(65_535) }),
});
export type TunnelOpening = z.output<typeof tunnelOpening>;
