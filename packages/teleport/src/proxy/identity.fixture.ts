// A host CA and the identities under it, for tests: as a joined host has them, on files of its own.
import { generateTlsKey, pemOf, spkiPem } from '../ca/host-keys.ts';
import type { TlsAuthority } from '../ca/tls-authority.ts';
import { readTlsAuthority } from '../ca/tls-authority.ts';
import { issueHostTls, makeTlsAuthority, splitNames } from '../ca/tls-issue.ts';
import type { TlsKeyPair } from './proxy.ts';

export const clusterName = 'test.example';
const hour = 3_600_000;

export async function newTlsAuthority(): Promise<TlsAuthority> {
  return readTlsAuthority(await makeTlsAuthority({ cluster: clusterName, type: 'host', now: new Date() }));
}

export async function tlsLeaf(authority: TlsAuthority, names: readonly string[]): Promise<TlsKeyPair> {
  const key = generateTlsKey();
  const cert = await issueHostTls(authority, {
    publicKeyPem: spkiPem(key),
    cluster: clusterName,
    hostUuid: '7b1f6a52-7f0f-4f4e-9d5a-111111111111',
    roles: ['proxy'],
    ...splitNames(names),
    validAfter: new Date(Date.now() - hour),
    validBefore: new Date(Date.now() + hour),
  });
  return { key: pemOf(key), cert: `${cert}${authority.certificatePem}` };
}
