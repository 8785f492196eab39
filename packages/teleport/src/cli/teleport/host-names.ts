// What others may dial this host by, besides its own names: what its certificates must carry.
import type { Config } from '../../config/config.ts';

/** Names and addresses, without ports. */
export function hostNames({ ssh, proxy, auth, advertiseIp }: Config): string[] {
  const listening = [
    ...(ssh.enabled ? [ssh.listenAddr.host] : []),
    ...(proxy.enabled ? [proxy.webListenAddr.host] : []),
    ...(auth.enabled ? [auth.listenAddr.host] : []),
  ].filter((host) => host !== '0.0.0.0' && host !== '::');
  const named = [...ssh.publicAddrs, ...(proxy.enabled ? proxy.publicAddrs : [])].map(withoutPort);
  return [...new Set([...named, ...(advertiseIp === undefined ? [] : [advertiseIp]), ...listening])];
}

function withoutPort(address: string): string {
  return address.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
}
