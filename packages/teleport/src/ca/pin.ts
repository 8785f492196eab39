// CA pins: what a joining host knows of its cluster beforehand. `sha256:<hex>` over the SubjectPublicKeyInfo (DER)
// of a host authority, so that a new certificate for the same key keeps its pin.
import { createHash, X509Certificate } from 'node:crypto';

export function pinOf(certificate: string | Buffer): string {
  const key = new X509Certificate(certificate).publicKey.export({ type: 'spki', format: 'der' });
  return `sha256:${createHash('sha256').update(key).digest('hex')}`;
}

/** Is this authority among the pinned ones? Case and blanks of a pin that somebody typed do not matter. */
export function matchesPin(certificate: string | Buffer, pins: readonly string[]): boolean {
  const pin = pinOf(certificate);
  return pins.some((each) => each.trim().toLowerCase() === pin);
}
