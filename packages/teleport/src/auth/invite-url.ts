// Where a one-time link points: the web page of a proxy that is there, else where the configuration says.
import type { InvitePurpose } from './credentials/invites.ts';
import { listDocuments } from './documents.ts';
import type { Parts } from './parts.ts';

export async function inviteUrl(
  { store, settings }: Parts,
  purpose: InvitePurpose,
  token: string,
): Promise<string> {
  const [proxy] = await listDocuments(store, 'proxy');
  const address = proxy?.spec.web_addr ?? settings.webAddress ?? '<proxyhost>:3080';
  return `https://${address}/web/${purpose}/${token}`;
}
