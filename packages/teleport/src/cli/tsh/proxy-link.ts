// Connections to the proxy: TLS on the web port with the protocol named by ALPN, so that one port is enough.
import { connect as connectTcp, isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls, rootCertificates, type TLSSocket } from 'node:tls';
import { AppError } from '@sallyport/contracts/errors.ts';
import { formatAddress } from '../../config/address.ts';

/** What the proxy is asked for: its web endpoints, or its SSH gateway. */
export type Protocol = 'http/1.1' | 'teleport-proxy-ssh';

export interface ProxyAddress {
  readonly host: string;
  readonly port: number;
}

export interface Trust {
  /** PEM of the cluster's TLS host CAs, beside the system's own. Empty before the first log-in. */
  readonly clusterCas: string;
  /** --insecure: whoever answers is believed. */
  readonly insecure: boolean;
}

const defaultWebPort = 3080;
const connectTimeoutMs = 15_000;

/** `example.com`, `example.com:443`, `[::1]:3080`; `https://` in front and a path behind are forgiven. */
export function parseProxyAddress(text: string): ProxyAddress {
  const match = /^(?:https:\/\/)?(\[[0-9a-fA-F:]+\]|[^/:\s]+)(?::(\d{1,5}))?\/?$/.exec(text);
  const port = Number(match?.[2] ?? defaultWebPort);
  if (match?.[1] === undefined || port < 1 || port > 65_535) {
    throw new AppError('bad_input', 'tsh.bad_proxy', `--proxy: "${text}" is not HOST or HOST:PORT.`);
  }
  return { host: match[1].replace(/^\[|\]$/g, ''), port };
}

export async function dialProxy(address: ProxyAddress, protocol: Protocol, trust: Trust): Promise<TLSSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>();
  const socket = connectTls({
    host: address.host,
    port: address.port,
    // RFC 6066 section 3: no addresses in SNI.
    ...(isIP(address.host) === 0 ? { servername: address.host } : {}),
    ALPNProtocols: [protocol],
    ca: trust.clusterCas === '' ? [...rootCertificates] : [...rootCertificates, trust.clusterCas],
    rejectUnauthorized: !trust.insecure,
    minVersion: 'TLSv1.2',
  });
  socket.setNoDelay(true);
  socket.setTimeout(connectTimeoutMs, () => socket.destroy(new Error('no answer in time')));
  socket.once('error', (error) => reject(unreachable(address, error)));
  socket.once('secureConnect', () => {
    socket.setTimeout(0);
    resolve(socket);
  });
  return promise;
}

/** A plain connection, for a proxy that does not route by ALPN. */
export function dialPlain(address: ProxyAddress): Promise<Duplex> {
  const { promise, resolve, reject } = Promise.withResolvers<Duplex>();
  const socket = connectTcp({ host: address.host, port: address.port, noDelay: true });
  socket.once('error', (error) => reject(unreachable(address, error)));
  socket.once('connect', () => resolve(socket));
  return promise;
}

const certificateProblems = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

export function unreachable(address: ProxyAddress, error: Error): AppError {
  const where = formatAddress(address);
  const code = 'code' in error ? String(error.code) : '';
  if (certificateProblems.has(code)) {
    return new AppError(
      'denied',
      'tsh.untrusted_proxy',
      `The certificate of ${where} is not signed by an authority this machine trusts.`,
      {
        cause: error,
        hint: 'If the cluster uses its own authority: compare its pin (`tctl status`) and log in with --ca-pin=sha256:…, or accept it unseen with --insecure.',
      },
    );
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return new AppError('denied', 'tsh.wrong_proxy_name', `${where} shows a certificate for another name.`, {
      cause: error,
      hint: 'Use a name of `proxy_service.public_addr`, or add this one there.',
    });
  }
  return new AppError('unavailable', 'tsh.unreachable', `${where} cannot be reached: ${error.message}.`, {
    cause: error,
    hint: 'Check --proxy, and that the proxy listens there.',
  });
}
