// Lines of known_hosts and authorized_keys that make OpenSSH trust our CAs.
import { createHash } from 'node:crypto';
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

/** For an account's authorized_keys on an OpenSSH server. */
export function userCaAuthorizedKeysLine(userCa: Buffer, clusterName: string): string {
  return `cert-authority ${trustedUserCaLine(userCa, clusterName)}`;
}

/** As `ssh-keygen -l` prints it. */
export function fingerprint(key: Buffer): string {
  return `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`;
}
