import type { TestContext } from 'node:test';
import type { HostRole } from '@sallyport/contracts/api/route.ts';
import { temporaryDirectory } from '../temporary-directory.fixture.ts';
import { Authorities } from './authorities.ts';
import { generateTlsKey, pemOf, spkiPem } from './host-keys.ts';
import { issueHostTls, issueUserTls } from './tls-issue.ts';

export { temporaryDirectory };

export const hostUuid = '5b3c0f0e-3b0e-4a63-8a51-1f3c1c2f7a10';
const hourMs = 3_600_000;

export async function openAuthorities(
  t: TestContext,
  { clusterName = 'prod', now = new Date(), dataDir = '' } = {},
): Promise<Authorities> {
  const directory = dataDir === '' ? await temporaryDirectory(t) : dataDir;
  return Authorities.open({ dataDir: directory, clusterName, create: true, now: () => now });
}

export interface KeyAndCertificate {
  readonly keyPem: string;
  readonly certPem: string;
}

export interface LeafOptions {
  readonly roles?: readonly HostRole[];
  readonly cluster?: string;
  readonly validAfter?: Date;
  readonly validBefore?: Date;
}

export async function hostLeaf(
  authorities: Authorities,
  options: LeafOptions = {},
): Promise<KeyAndCertificate> {
  const key = generateTlsKey();
  const certPem = await issueHostTls(authorities.active('host').tls, {
    publicKeyPem: spkiPem(key),
    cluster: options.cluster ?? authorities.clusterName,
    hostUuid,
    roles: options.roles ?? ['node'],
    dnsNames: ['node.example.com'],
    ipAddresses: ['127.0.0.1', '::1'],
    validAfter: options.validAfter ?? new Date(Date.now() - hourMs),
    validBefore: options.validBefore ?? new Date(Date.now() + hourMs),
  });
  return { keyPem: pemOf(key), certPem };
}

export async function userLeaf(
  authorities: Authorities,
  options: LeafOptions = {},
): Promise<KeyAndCertificate> {
  const key = generateTlsKey();
  const certPem = await issueUserTls(authorities.active('user').tls, {
    publicKeyPem: spkiPem(key),
    cluster: options.cluster ?? authorities.clusterName,
    user: 'alice@example.com',
    roles: ['access'],
    traits: { logins: ['root', 'alice'] },
    logins: ['alice'],
    validAfter: options.validAfter ?? new Date(Date.now() - hourMs),
    validBefore: options.validBefore ?? new Date(Date.now() + hourMs),
  });
  return { keyPem: pemOf(key), certPem };
}
