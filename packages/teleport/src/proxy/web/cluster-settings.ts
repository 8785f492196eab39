// What the cluster says of itself, as ping and find tell it. Asked of auth at most once in a while; when auth is away
// the last answer stands: a node can be reached without auth, so a client must be able to find the way.
import type { AuthRoutes, ClusterStatus } from '@sallyport/contracts/api/auth-routes.ts';
import type { Client } from '@sallyport/contracts/api/client.ts';
import type { Ping } from '@sallyport/contracts/api/web-routes.ts';
import { formatAddress, parseAddress } from '../../config/address.ts';
import type { Address, ProxyServiceConfig } from '../../config/config.ts';

export interface ClusterSettingsOptions {
  readonly api: Pick<Client<AuthRoutes>, 'ping'>;
  readonly proxy: ProxyServiceConfig;
  /** As bound. */
  readonly addresses: () => { readonly web: Address; readonly ssh: Address; readonly tunnel: Address };
  readonly version: string;
  readonly now: () => Date;
}

/** A person who has changed a setting looks again after about so long. */
const freshMs = 5_000;

export class ClusterSettings {
  readonly #options: ClusterSettingsOptions;
  #last: { readonly status: ClusterStatus; readonly at: number } | undefined;
  #asking: Promise<ClusterStatus> | undefined;

  constructor(options: ClusterSettingsOptions) {
    this.#options = options;
  }

  async ping(): Promise<Ping> {
    const status = await this.#status();
    return { ...this.#find(status), auth: authOf(status) };
  }

  async find(): Promise<Omit<Ping, 'auth'>> {
    return this.#find(await this.#status());
  }

  async clusterName(): Promise<string> {
    return (await this.#status()).cluster_name;
  }

  async #status(): Promise<ClusterStatus> {
    const last = this.#last;
    if (last && this.#options.now().getTime() - last.at < freshMs) return last.status;
    // However many clients ask at once, auth is asked once.
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
    });
    return last ? this.#asking.catch(() => last.status) : this.#asking;
  }

  async #ask(): Promise<ClusterStatus> {
    try {
      const status = await this.#options.api.ping();
      this.#last = { status, at: this.#options.now().getTime() };
      return status;
    } catch (error) {
      // Asked again after the same pause, not with every request: auth may be away because it is overwhelmed.
      if (this.#last) this.#last = { ...this.#last, at: this.#options.now().getTime() };
      throw error;
    }
  }

  #find(status: ClusterStatus): Omit<Ping, 'auth'> {
    return {
      proxy: { ssh: this.#listeners(), tls_routing_enabled: true },
      server_version: this.#options.version,
      min_client_version: status.min_client_version,
      cluster_name: status.cluster_name,
      automatic_upgrades: false,
      edition: 'oss',
      fips: false,
    };
  }

  #listeners(): Ping['proxy']['ssh'] {
    const { web, ssh, tunnel } = this.#options.addresses();
    const listeners = {
      listen_addr: formatAddress(ssh),
      tunnel_listen_addr: formatAddress(tunnel),
      web_listen_addr: formatAddress(web),
    };
    const [first] = this.#options.proxy.publicAddrs;
    const host = first === undefined ? undefined : parseAddress(first, web.port);
    if (host === undefined) return listeners;
    return {
      ...listeners,
      public_addr: formatAddress(host),
      // The configuration names one public address; the other ports are told by what listens.
      ssh_public_addr: formatAddress({ ...host, port: ssh.port }),
      ssh_tunnel_public_addr: formatAddress({ ...host, port: tunnel.port }),
    };
  }
}

function authOf({ cluster_name, auth }: ClusterStatus): Ping['auth'] {
  const { webauthn_rp_id: rpId, connector_name: usual, local, connectors = [], ...plain } = auth;
  const [first] = connectors.filter(({ name }) => name === usual);
  return {
    ...plain,
    ...(local === false ? {} : { local: { name: cluster_name } }),
    ...(rpId === undefined ? {} : { webauthn: { rp_id: rpId } }),
    ...(connectors.length === 0 ? {} : { connectors: [...connectors] }),
    ...(first === undefined ? {} : { [first.kind]: { name: first.name, display: first.display } }),
  };
}
