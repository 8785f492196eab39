// `/healthz`, `/readyz` and `/metrics` for the diagnostic listener: a request handler for node:http, so that whoever
// composes the process puts every service of it behind one address.
import type { RequestListener } from 'node:http';
import type { Registry } from 'prom-client';
import type { Readiness } from './proxy.ts';

export interface DiagnosticsOptions {
  readonly registry: Registry;
  /** One for each service of the process, by its name. */
  readonly services: Readonly<Record<string, () => Readiness>>;
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

const json = 'application/json; charset=utf-8';

/** Alive is who answers at all; ready is who can do all of its work. 503 with the reasons otherwise. */
export function diagnosticsHandler(options: DiagnosticsOptions): RequestListener {
  return (request, response) => {
    const send = ({ status, type, body }: Answer) => {
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' });
      response.end(request.method === 'HEAD' ? '' : body);
    };
    const failed = () => send({ status: 500, type: 'text/plain', body: 'internal error\n' });
    answer(options, request.method ?? '', request.url ?? '').then(send, failed);
  };
}

async function answer(
  { registry, services }: DiagnosticsOptions,
  method: string,
  url: string,
): Promise<Answer> {
  if (method !== 'GET' && method !== 'HEAD') return { status: 405, type: 'text/plain', body: 'GET only\n' };
  switch (url.split('?')[0]) {
    case '/healthz':
      return { status: 200, type: json, body: '{"status":"ok"}\n' };
    case '/readyz':
      return readiness(services);
    case '/metrics':
      return { status: 200, type: registry.contentType, body: await registry.metrics() };
    default:
      return { status: 404, type: 'text/plain', body: 'see /healthz, /readyz, /metrics\n' };
  }
}

function readiness(services: DiagnosticsOptions['services']): Answer {
  const states = Object.entries(services).map(([name, read]) => [name, read()] as const);
  const ready = states.every(([, state]) => state.ready);
  const body = { status: ready ? 'ok' : 'not ready', services: Object.fromEntries(states) };
  return { status: ready ? 200 : 503, type: json, body: `${JSON.stringify(body)}\n` };
}
