// The `source-address` critical option: a comma-separated list of CIDRs a certificate may be used from.
import { BlockList, isIP, isIPv4 } from 'node:net';

/** `undefined`: the list itself is malformed (and the certificate must be refused). */
export function addressAllowed(list: string, remoteAddress: string): boolean | undefined {
  const address = plainAddress(remoteAddress);
  const allowed = new BlockList();
  for (const entry of list.split(',')) {
    const [network = '', bits, ...rest] = entry.trim().split('/');
    const family = isIP(network);
    if (family === 0 || rest.length > 0) return undefined;
    const width = family === 4 ? 32 : 128;
    const prefix = bits === undefined ? width : parsePrefix(bits, width);
    if (prefix === undefined) return undefined;
    allowed.addSubnet(network, prefix, family === 4 ? 'ipv4' : 'ipv6');
  }
  if (isIP(address) === 0) return false;
  return allowed.check(address, isIPv4(address) ? 'ipv4' : 'ipv6');
}

/** A dual-stack socket reports IPv4 peers as ::ffff:a.b.c.d; a scope (`%eth0`) is not part of the address. */
function plainAddress(address: string): string {
  const unscoped = address.split('%', 1)[0] ?? '';
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(unscoped)?.[1];
  return mapped ?? unscoped;
}

function parsePrefix(text: string, width: number): number | undefined {
  if (!/^\d{1,3}$/.test(text)) return undefined;
  const prefix = Number(text);
  return prefix <= width ? prefix : undefined;
}
