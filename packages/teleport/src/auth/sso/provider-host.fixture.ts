// An https server with a CA of its own, for identity providers that tests start.
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { createServer, type Server } from 'node:https';
import { generateTlsKey, pemOf, spkiPem } from '../../ca/host-keys.ts';
import { readTlsAuthority } from '../../ca/tls-authority.ts';
import { issueHostTls, makeTlsAuthority } from '../../ca/tls-issue.ts';

const hour = 3_600_000;

export interface ProviderHost {
  /** `https://localhost:PORT` */
  readonly origin: string;
  /** PEM. */
  readonly ca: string;
  /** As chromium's --ignore-certificate-errors-spki-list takes it. */
  readonly leafPem: string;
  serve(listener: RequestListener): void;
  close(): Promise<void>;
}

export async function startProviderHost(): Promise<ProviderHost> {
  const now = new Date();
  const authority = readTlsAuthority(await makeTlsAuthority({ cluster: 'idp', type: 'host', now }));
  const key = generateTlsKey();
  const leafPem = await issueHostTls(authority, {
    publicKeyPem: spkiPem(key),
    cluster: 'idp',
    hostUuid: '7b1f6a52-7f0f-4f4e-9d5a-222222222222',
    roles: ['proxy'],
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
    validAfter: new Date(now.getTime() - hour),
    validBefore: new Date(now.getTime() + hour),
  });
  const server: Server = createServer({ key: pemOf(key), cert: leafPem });
  server.listen(0, 'localhost');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    origin: `https://localhost:${address.port}`,
    ca: authority.certificatePem,
    leafPem,
    serve: (listener) => void server.on('request', listener),
    close: async () => {
      if (!server.listening) return;
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
