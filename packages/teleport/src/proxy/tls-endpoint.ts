// Where TLS ends at the proxy for what our own clients dial (SSH gateway, tunnels): connections the mux hands over
// become streams. An endpoint a protocol: OpenSSL would choose among several by its own order, not by the client's.
import type { Socket } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import type { ProxyLog, TlsKeyPair } from './proxy.ts';

/** From the ClientHello to a finished handshake. */
export const handshakeTimeoutMs = 10_000;

export interface TlsEndpointOptions {
  readonly keyPair: TlsKeyPair;
  readonly protocol: string;
  /** Called with a finished handshake. The stream is theirs from here on. */
  readonly serve: (stream: TLSSocket) => void;
  readonly onFailed?: () => void;
  readonly log: ProxyLog;
}

export interface TlsEndpoint {
  accept(socket: Socket): void;
  /** For handshakes from now on. Throws on a pair that does not fit, and then changes nothing. */
  setKeyPair(keyPair: TlsKeyPair): void;
}

export function createTlsEndpoint(options: TlsEndpointOptions): TlsEndpoint {
  const context = ({ key, cert }: TlsKeyPair) => ({ key, cert, minVersion: 'TLSv1.3' as const });
  const server = createServer({
    ...context(options.keyPair),
    ALPNProtocols: [options.protocol],
    handshakeTimeout: handshakeTimeoutMs,
    allowHalfOpen: true,
  });
  server.on('secureConnection', (stream) => {
    stream.on('error', () => {});
    options.serve(stream);
  });
  server.on('tlsClientError', (error, stream) => {
    options.log.debug({ remote: stream.remoteAddress, error: error.message }, 'a TLS handshake failed');
    options.onFailed?.();
    stream.destroy();
  });
  return {
    accept: (socket) => void server.emit('connection', socket),
    setKeyPair: (keyPair) => server.setSecureContext(context(keyPair)),
  };
}
