// The cluster's SSH authorities as blobs, parsed once for each state of trust rather than for each log-in.
import type { Trust } from '@sallyport/contracts/api/auth-routes.ts';
import { parsePublicKeyLine } from '../ca/public-key.ts';
import type { ClusterView } from './proxy.ts';

interface Authorities {
  readonly host: readonly Buffer[];
  readonly user: readonly Buffer[];
}

export class ClusterTrust {
  readonly #cluster: Pick<ClusterView, 'trust'>;
  #parsed: { readonly trust: Trust; readonly authorities: Authorities } | undefined;

  constructor(cluster: Pick<ClusterView, 'trust'>) {
    this.#cluster = cluster;
  }

  get authorities(): Authorities {
    const { trust } = this.#cluster;
    if (this.#parsed?.trust !== trust) {
      const authorities = {
        host: trust.ssh_host_cas.map(parsePublicKeyLine),
        user: trust.ssh_user_cas.map(parsePublicKeyLine),
      };
      this.#parsed = { trust, authorities };
    }
    return this.#parsed.authorities;
  }
}
