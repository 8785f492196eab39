// What a user proves themselves with, as it is stored: `credential/<user>`.
import type { Item, Store, Write } from '../store/store.ts';

export interface TotpDevice {
  readonly type: 'totp';
  readonly id: string;
  readonly name: string;
  /** Base32. */
  readonly secret: string;
  /** RFC 3339 UTC. Absent: before this was kept. */
  readonly added?: string | undefined;
  /** The last time step that was used: it, and what is before it, is used up. */
  readonly lastStep: number;
}

export interface WebauthnDevice {
  readonly type: 'webauthn';
  readonly id: string;
  readonly name: string;
  /** Base64url, as all that follow. */
  readonly credentialId: string;
  /** COSE. */
  readonly publicKey: string;
  /** How often the authenticator says it was used; 0 where it does not count. */
  readonly counter: number;
  readonly transports?: readonly string[] | undefined;
  /** It knows its owner and keeps the account: it logs in by itself. */
  readonly passwordless?: boolean | undefined;
  readonly added?: string | undefined;
}

export type Device = TotpDevice | WebauthnDevice;

export interface Credential {
  /** PHC string. */
  readonly password?: string | undefined;
  readonly devices: readonly Device[];
  /** Of a user on an identity provider's word: which person of that name set it up. */
  readonly owner?: string | undefined;
}

export const credentialPrefix = 'credential/';
const nothing: Credential = { devices: [] };

export interface StoredCredential extends Credential {
  /** `undefined`: there is none yet. */
  readonly revision: string | undefined;
}

export async function readCredential(store: Store, user: string): Promise<StoredCredential> {
  return parseCredential(await store.get(credentialPrefix + user));
}

export function parseCredential(item: Item | undefined): StoredCredential {
  const credential = item === undefined ? nothing : (JSON.parse(item.value) as Credential);
  return { ...credential, revision: item?.revision };
}

/** The passkey's own name of its user → the user: `passkey/<handle>`. */
export const passkeyPrefix = 'passkey/';

export function putCredential(user: string, credential: Credential, expect?: Write['expect']): Write {
  const { password, devices, owner } = credential;
  return {
    type: 'put',
    key: credentialPrefix + user,
    value: JSON.stringify({ password, devices, owner }),
    ...(expect === undefined ? {} : { expect }),
  };
}
