// The names by which connections among our services are told apart. No schema: whoever dials needs them, and a command
// line client would load all of zod for a name.

/** A stream through a node's tunnel; its payload is in tunnel-opening.ts. */
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
