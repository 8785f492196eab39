// Whose certificate a connection showed → who calls. The handshake is looked at once a connection, its end and
// what is trusted at every call.
import type { TLSSocket } from 'node:tls';
import { issuedAt } from '@sallyport/contracts/api/lock.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { TlsIdentity } from '../../ca/tls-identity.ts';
import { type TlsTrust, verifyPeer } from '../../ca/tls-options.ts';
import type { Caller } from './handler.ts';

/** `trust` is asked anew at every call: a rotation takes authorities away while connections live on. */
export function certificateCaller(trust: () => TlsTrust, now: () => Date): (socket: TLSSocket) => Caller {
  return (socket) => {
    const verdict = verifyPeer(socket, { trust: trust(), now: now() });
    if (verdict.ok) return toCaller(verdict.identity);
    if (verdict.anonymous) return { kind: 'anyone' };
    throw new AppError(
      'denied',
      'api.certificate',
      `The certificate of this connection is not accepted: ${verdict.reason}.`,
    );
  };
}

function toCaller(identity: TlsIdentity): Caller {
  if (identity.kind === 'host') return { kind: 'host', hostUuid: identity.hostUuid, roles: identity.roles };
  const { user, roles, traits, mfaDevice, validAfter, validBefore } = identity;
  return { kind: 'user', user, roles, traits, mfaDevice, issued: issuedAt(validAfter), validBefore };
}
