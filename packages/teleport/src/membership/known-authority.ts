// The first meeting with a cluster: which authority does it show, and is it the one the operator named? Nothing is
// sent to anybody before that is settled; the connection that carries the token comes afterwards and trusts only
// the authority found here.
import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { alpnProtocols } from '@sallyport/contracts/api/tunnel.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { matchesPin, pinOf } from '../ca/pin.ts';
import { readTlsIdentity } from '../ca/tls-identity.ts';
import { type TlsTrust, verifyTlsCertificate } from '../ca/tls-options.ts';
import { formatAddress } from '../config/address.ts';
import type { Address } from '../config/config.ts';
import { dialTls, severalFailed } from './dial.ts';
import type { MembershipLog } from './membership-log.ts';

export interface FirstMeeting {
  readonly addresses: readonly Address[];
  /** `sha256:…`, any of which may match. Empty: whoever answers is believed, with a warning. */
  readonly pins: readonly string[];
  readonly now: () => Date;
  readonly log: MembershipLog;
  readonly signal?: AbortSignal | undefined;
}

/** What a joining host may trust. The user authorities come with the answer to the join. */
export async function meetCluster(meeting: FirstMeeting): Promise<TlsTrust> {
  const failures: AppError[] = [];
  for (const address of meeting.addresses) {
    try {
      return await meetAt(address, meeting);
    } catch (error) {
      const failure = AppError.from(error);
      // Somebody else answers where the cluster should: not a reason to try our luck at the next address.
      if (failure.kind === 'denied') throw failure;
      failures.push(failure);
    }
  }
  throw severalFailed(failures);
}

async function meetAt(address: Address, { pins, now, log, signal }: FirstMeeting): Promise<TlsTrust> {
  // No verification: there is nothing yet to verify against. This connection only looks.
  const look = {
    rejectUnauthorized: false,
    minVersion: 'TLSv1.3',
    ALPNProtocols: [alpnProtocols.auth],
  } as const;
  const socket = await dialTls(address, look, { signal });
  try {
    const trust = shownTrust(socket, now());
    if (typeof trust === 'string') throw notTheCluster(address, trust);
    const authority = trust.tls_host_cas[0] ?? '';
    if (pins.length > 0 && !matchesPin(authority, pins)) throw wrongPin(address, authority, pins);
    if (pins.length === 0) {
      log.warn(
        { address: formatAddress(address), pin: pinOf(authority) },
        'joining without a CA pin: whoever answers is believed. Compare this pin with `tctl status`, and set ca_pin',
      );
    }
    return trust;
  } finally {
    socket.destroy();
  }
}

/** The chain must hold together by itself: an auth server's leaf, and the authority that made it. Or why not. */
function shownTrust(socket: TLSSocket, now: Date): TlsTrust | string {
  const leaf = socket.getPeerX509Certificate();
  const identity = leaf && readTlsIdentity(leaf);
  if (leaf === undefined || identity === undefined) return 'what answers is not an auth server of Sallyport';
  const authority: X509Certificate | undefined = leaf.issuerCertificate;
  if (authority === undefined) return 'the server does not show its authority';
  const trust = {
    cluster_name: identity.cluster,
    tls_host_cas: [authority.toString()],
    tls_user_cas: [],
  };
  const verdict = verifyTlsCertificate(leaf, { trust, now, expect: ['auth'] });
  return verdict.ok ? trust : verdict.reason;
}

function notTheCluster(address: Address, reason: string): AppError {
  return new AppError(
    'denied',
    'membership.wrong_server',
    `${formatAddress(address)} was refused: ${reason}.`,
    {
      hint: 'auth_server names the API of auth (port 3025), proxy_server the web port of a proxy (3080).',
    },
  );
}

function wrongPin(address: Address, authority: string, pins: readonly string[]): AppError {
  const expected = pins.join(', ');
  return new AppError(
    'denied',
    'membership.wrong_pin',
    `${formatAddress(address)} shows an authority with the pin ${pinOf(authority)}, but ca_pin is ${expected}. Nothing was sent to it.`,
    {
      hint: 'After a rotation `tctl status` shows the new pin; if nobody rotated, somebody else answers there.',
    },
  );
}
