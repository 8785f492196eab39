// `host:port` as configuration and flags write it.
import type { Address } from './config.ts';

/** `undefined` when the text is no address. IPv6 takes brackets: `[::1]:3022`. A missing port takes the default. */
export function parseAddress(text: string, defaultPort: number): Address | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:/[\]]*))(?::(\d{1,5}))?$/.exec(text);
  if (match === null) return undefined;
  const [, ipv6, name, port] = match;
  const host = ipv6 ?? name ?? '';
  // `:3022` means every interface, as in the documented system.
  if (host === '' && port === undefined) return undefined;
  const number = port === undefined ? defaultPort : Number(port);
  return number <= 65535 ? { host: host === '' ? '0.0.0.0' : host, port: number } : undefined;
}

export function formatAddress(address: Address): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}
