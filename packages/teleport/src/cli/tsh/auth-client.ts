// The API of the auth service as the person of a profile: mutual TLS that the proxy passes on and cannot read.
import { authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { type Client, createClient } from '@sallyport/contracts/api/client.ts';
import { tlsTransport } from '../../membership/transport.ts';
import { productVersion } from '../version.ts';
import { type Profile, readKeys } from './profile.ts';
import { parseProxyAddress } from './proxy-link.ts';

export interface AuthSession {
  readonly client: Client<typeof authRoutes>;
  close(): void;
}

export async function authClient(profile: Profile): Promise<AuthSession> {
  const keys = await readKeys(profile);
  const transport = tlsTransport({
    addresses: [parseProxyAddress(profile.web_proxy_addr)],
    identity: () => ({ key: keys.tlsKey, cert: keys.tlsCertificate }),
    trust: () => ({
      cluster_name: profile.cluster,
      tls_host_cas: certificatesIn(keys.tlsHostCas),
      tls_user_cas: [],
    }),
  });
  const headers = { 'x-sallyport-version': productVersion() };
  return { client: createClient(authRoutes, transport, headers), close: () => transport.close() };
}

function certificatesIn(pem: string): string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
}
