// Lines of known_hosts and authorized_keys that make OpenSSH trust our CAs.
import { publicKeyLine } from './public-key.ts';

/**
 * `@cert-authority <patterns> <key>`: with it a client accepts every host of the cluster whose certificate names
 * the host it set out to reach. `*` because ssh compares the certificate's principals itself.
 */
export function certAuthorityLine(hostCa: Buffer, clusterName: string, patterns = '*'): string {
  return `@cert-authority ${patterns} ${publicKeyLine(hostCa, `sallyport cluster ${clusterName}`)}`;
}

/** For an OpenSSH server's TrustedUserCAKeys file. */
export function trustedUserCaLine(userCa: Buffer, clusterName: string): string {
  return publicKeyLine(userCa, `sallyport user CA of ${clusterName}`);
}
