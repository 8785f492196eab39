// The way to the auth service as the person of a profile: mutual TLS that the proxy passes on and cannot read.
import { type MemberTransport, tlsTransport } from '../../membership/transport.ts';
import { type Profile, readKeys } from './profile.ts';
import { parseProxyAddress } from './proxy-link.ts';

export async function authTransport(profile: Profile): Promise<MemberTransport> {
  const keys = await readKeys(profile);
  return tlsTransport({
    addresses: [parseProxyAddress(profile.web_proxy_addr)],
    identity: () => ({ key: keys.tlsKey, cert: keys.tlsCertificate }),
    trust: () => ({
      cluster_name: profile.cluster,
      tls_host_cas: certificatesIn(keys.tlsHostCas),
      tls_user_cas: [],
    }),
  });
}

function certificatesIn(pem: string): string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
}
