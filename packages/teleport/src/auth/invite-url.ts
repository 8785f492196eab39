// Where a one-time link points: the web page of a proxy that is there, else where the configuration says.
import type { InvitePurpose } from './credentials/invites.ts';
import { listDocuments } from './documents.ts';
import type { Parts } from './parts.ts';

export async function inviteUrl(parts: Parts, purpose: InvitePurpose, token: string): Promise<string> {
  return `https://${await webAddressOf(parts)}/web/${purpose}/${token}`;
}

/** `host[:port]` */
export async function webAddressOf({ store, settings }: Pick<Parts, 'store' | 'settings'>): Promise<string> {
  const [proxy] = await listDocuments(store, 'proxy');
  return proxy?.spec.web_addr ?? settings.webAddress ?? '<proxyhost>:3080';
}
