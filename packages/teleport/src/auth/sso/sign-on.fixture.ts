// The steps of a log-in by an identity provider as proxy and tsh take them, on the auth service of the tests.
import { createHash } from 'node:crypto';
import type { ConnectorDocument } from '@sallyport/contracts/api/connectors.ts';
import { generateTlsKey, spkiPem } from '../../ca/host-keys.ts';
import { generateEd25519 } from '../../ca/openssh-private-key.ts';
import { publicKeyBlob } from '../../ca/public-key.ts';
import { admin, type Cluster, call, proxy } from '../auth-service.fixture.ts';

export const callback = (kind: 'oidc' | 'github') =>
  `https://proxy.example.com:3080/v1/webapi/${kind}/callback`;

const keys = {
  ssh_public_key: publicKeyBlob(generateEd25519()).toString('base64'),
  tls_public_key: spkiPem(generateTlsKey()),
};
const secret = 'known to tsh alone';
const remote_addr = '198.51.100.9';

export async function putConnector(cluster: Cluster, document: ConnectorDocument): Promise<void> {
  const params = { kind: document.kind, name: document.metadata.name };
  await cluster.service.handlers.putResource({ params, query: {}, body: document }, cluster.as(admin));
}

/** A log-in that waits, and a browser that was sent to the provider. */
export class TestSignOn {
  readonly #cluster: Cluster;
  readonly kind: ConnectorDocument['kind'];
  readonly id: string;
  readonly url: string;
  readonly cookies: Readonly<Record<string, string>>;

  private constructor(cluster: Cluster, kind: ConnectorDocument['kind'], id: string, sent: Sent) {
    this.#cluster = cluster;
    this.kind = kind;
    this.id = id;
    this.url = sent.url;
    this.cookies = { [sent.flow]: sent.binding };
  }

  static async begin(
    cluster: Cluster,
    connector: string,
    kind: ConnectorDocument['kind'] = 'oidc',
  ): Promise<TestSignOn> {
    const { handlers } = cluster.service;
    const secret_sha256 = createHash('sha256').update(secret).digest('hex');
    const order = { ...keys, connector, secret_sha256, remote_addr };
    const { id } = await handlers.beginBrowserLogIn(call(order), cluster.as(proxy));
    const sent = await handlers.beginSso(
      call({ connector, browser_log_in: id, remote_addr }),
      cluster.as(proxy),
    );
    return new TestSignOn(cluster, kind, id, sent);
  }

  /** The same, at another auth server. */
  at(cluster: Cluster): TestSignOn {
    const [flow = '', binding = ''] = Object.entries(this.cookies)[0] ?? [];
    return new TestSignOn(cluster, this.kind, this.id, { url: this.url, flow, binding });
  }

  get state(): string {
    return new URL(this.url).searchParams.get('state') ?? '';
  }

  /** The browser came back. */
  complete(
    query: string,
    changes: { cookies?: Readonly<Record<string, string>>; kind?: 'oidc' | 'github' } = {},
  ) {
    const { kind = this.kind, cookies = this.cookies } = changes;
    const body = { kind, query, bindings: { ...cookies }, remote_addr, user_agent: 'Chromium' };
    return this.#cluster.service.handlers.completeSso(call(body), this.#cluster.as(proxy));
  }

  /** What tsh hears. */
  result() {
    return this.#cluster.service.handlers.browserLogInResult(
      { params: { id: this.id }, query: undefined, body: { secret } },
      this.#cluster.as(proxy),
    );
  }
}

interface Sent {
  readonly url: string;
  readonly flow: string;
  readonly binding: string;
}
