// `--ca-pin`: the authority behind a proxy's certificate is believed because its key is the one that was named.
import type { X509Certificate } from 'node:crypto';
import { AppError } from '@sallyport/contracts/errors.ts';
import { pinOf } from '../../ca/pin.ts';
import { formatAddress } from '../../config/address.ts';
import { dialProxy, type ProxyAddress } from './proxy-link.ts';

/** The pinned authority's PEM. Nothing but the handshake is said to the proxy before. */
export async function trustByPin(address: ProxyAddress, pin: string): Promise<string> {
  if (!/^sha256:[0-9a-f]{64}$/.test(pin)) {
    throw new AppError('bad_input', 'tsh.bad_pin', `--ca-pin: "${pin}" is not sha256: and 64 hex digits.`, {
      hint: '`tctl status` prints the pin of the cluster.',
    });
  }
  const socket = await dialProxy(address, 'http/1.1', { clusterCas: '', insecure: true });
  const chain: X509Certificate[] = [];
  for (let next = socket.getPeerX509Certificate(); next !== undefined; next = next.issuerCertificate) {
    // A root names itself as its issuer.
    if (chain.at(-1)?.fingerprint256 === next.fingerprint256 || chain.length >= 8) break;
    chain.push(next);
  }
  socket.destroy();
  const pinned = chain.find((certificate) => pinOf(certificate.raw) === pin);
  if (pinned !== undefined) return pinned.toString();
  throw new AppError('denied', 'tsh.wrong_pin', `${formatAddress(address)} is not the cluster of that pin.`, {
    hint: `It shows ${chain.map(({ raw }) => pinOf(raw)).join(', ') || 'no certificate'}. If the cluster was not rotated since, somebody stands in between.`,
  });
}
