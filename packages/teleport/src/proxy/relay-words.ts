// The proxy's signed word for whose connection it hands over (membership/relay-line.ts), to nodes and to auth.
import { readPrivateKey } from '../ca/openssh-private-key.ts';
import { KeySigner } from '../ca/signature.ts';
import type { Address } from '../config/config.ts';
import { relayLine } from '../membership/relay-line.ts';
import type { HostKey } from '../ssh-transport/ssh-server.ts';
import type { ProxyIdentity } from './proxy.ts';

export interface RelayWordsOptions {
  readonly identity: Pick<ProxyIdentity, 'hostKeys'>;
  readonly now: () => Date;
}

export class RelayWords {
  readonly #options: RelayWordsOptions;
  #signer: { readonly of: HostKey['privateKey']; readonly signer: KeySigner } | undefined;

  constructor(options: RelayWordsOptions) {
    this.#options = options;
  }

  /** `audience`: a node's uuid, or `auth`. `undefined`: this host has no certificate to sign with. */
  async line(audience: string, remote: Address): Promise<string | undefined> {
    const { identity, now } = this.#options;
    const key = identity.hostKeys.find(({ certificate }) => certificate !== undefined);
    if (key?.certificate === undefined) return undefined;
    // Read once: a renewal brings another certificate for the same key.
    if (this.#signer?.of !== key.privateKey)
      this.#signer = {
        of: key.privateKey,
        signer: new KeySigner(readPrivateKey(key.privateKey.toString())),
      };
    const { signer } = this.#signer;
    return relayLine({ signer, certificate: key.certificate, node: audience, remote, now: now() });
  }
}
