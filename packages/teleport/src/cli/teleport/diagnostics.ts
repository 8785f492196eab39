// `diag_addr`: what runs beside the service for whoever watches over it. Read only, without authentication: it is
// off unless configured, and says nothing of users or sessions.
//   /healthz  200 while the process can answer at all
//   /readyz   200 while it can do its work; else 503 and why not
//   /metrics  Prometheus text, see metrics.ts
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Registry } from 'prom-client';
import { formatAddress } from '../../config/address.ts';
import type { Address } from '../../config/config.ts';
import { bindAddress } from './generation/sockets.ts';

/** Why it is not ready; undefined: it is. */
export type ReadyCheck = () => string | undefined;

export class Diagnostics {
  readonly #server: Server;
  readonly #registry: Registry;
  readonly #checks = new Map<string, ReadyCheck>();

  private constructor(registry: Registry) {
    this.#registry = registry;
    this.#server = createServer((request, response) => {
      void this.#answer(request.method ?? '', request.url ?? '', response);
    });
    this.#server.headersTimeout = 5_000;
    this.#server.keepAliveTimeout = 1_000;
    this.#server.maxConnections = 16; // whoever watches needs one
    // Not a reason to live: a service that ended for another reason ends.
    this.#server.unref();
  }

  static async listen(address: Address, registry: Registry, bind = bindAddress): Promise<Diagnostics> {
    const diagnostics = new Diagnostics(registry);
    await bind(diagnostics.#server, address).catch((cause: unknown) => {
      throw cannotListen(address, cause);
    });
    return diagnostics;
  }

  get address(): Address {
    const { address: host, port } = this.#server.address() as AddressInfo;
    return { host, port };
  }

  /** Ready means that no check objects. Setting one again replaces it. */
  check(name: string, check: ReadyCheck): void {
    this.#checks.set(name, check);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(method: string, url: string, response: ServerResponse): Promise<void> {
    if (method !== 'GET' && method !== 'HEAD') return send(response, 405, { error: 'GET only' });
    const [path] = url.split('?');
    if (path === '/healthz') return send(response, 200, { status: 'ok' });
    if (path === '/readyz') return this.#answerReady(response);
    if (path !== '/metrics') return send(response, 404, { error: 'no such page' });
    try {
      const text = await this.#registry.metrics();
      response.writeHead(200, { 'content-type': this.#registry.contentType }).end(text);
    } catch {
      send(response, 500, { error: 'the metrics could not be gathered' });
    }
  }

  #answerReady(response: ServerResponse): void {
    const failing = [...this.#checks].flatMap(([name, check]) => {
      const reason = check();
      return reason === undefined ? [] : [{ name, reason }];
    });
    if (failing.length === 0) send(response, 200, { status: 'ok' });
    else send(response, 503, { status: 'unavailable', failing });
  }
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`);
}

function cannotListen(address: Address, cause: unknown): AppError {
  return new AppError(
    'unavailable',
    'start.diag_addr',
    `The diagnostics cannot listen on ${formatAddress(address)}.`,
    { hint: 'Look at teleport.diag_addr or --diag-addr, and at what listens there already.', cause },
  );
}
