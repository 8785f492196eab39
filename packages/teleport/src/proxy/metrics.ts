// What this proxy counts. Names begin with `sallyport_proxy_`; labels come from fixed sets, never from requests.
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { GatewayMeter } from './gateway.ts';
import type { MuxRefusal, MuxRoute } from './tls-mux.ts';

/** What is read at the moment somebody looks. */
export interface ProxyGauges {
  readonly connections: () => number;
  readonly agents: () => number;
  readonly gatewayConnections: () => number;
}

export interface ProxyMetrics extends GatewayMeter {
  routed(route: MuxRoute): void;
  refused(why: MuxRefusal): void;
  authBytes(bytes: number): void;
  authDialFailed(): void;
  handshakeFailed(): void;
  loginRefused(service: 'gateway' | 'tunnel', kind: string): void;
  answered(route: string, status: number, seconds: number): void;
}

const seconds = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10];

export function proxyMetrics(registry: Registry, gauges: ProxyGauges): ProxyMetrics {
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter({ name: `sallyport_proxy_${name}`, help, labelNames: [...labelNames], registers });
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name: `sallyport_proxy_${name}`,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  gauge('connections', 'Open connections of the web port.', gauges.connections);
  gauge('agents', 'Nodes that keep a tunnel to this proxy.', gauges.agents);
  gauge('gateway_connections', 'Open connections of the SSH gateway.', gauges.gatewayConnections);
  let open = 0;
  gauge('streams', 'Open streams to nodes.', () => open);
  const routed = counter('routed_total', 'Connections of the web port by service.', ['route']);
  const refused = counter('refused_total', 'Connections of the web port that were refused.', ['why']);
  const failed = counter('handshakes_failed_total', 'TLS handshakes that failed.');
  const bytes = counter('stream_bytes_total', 'Bytes moved between users and nodes, both directions.');
  const authBytes = counter('auth_bytes_total', 'Bytes moved to and from auth servers.');
  const authFailed = counter('auth_dial_failures_total', 'Auth servers that could not be reached.');
  const logins = counter('logins_refused_total', 'Refused SSH log-ins.', ['service', 'kind']);
  const dials = new Histogram({
    name: 'sallyport_proxy_dial_seconds',
    help: 'From a request for a node to its stream, or its refusal.',
    labelNames: ['outcome'],
    buckets: seconds,
    registers,
  });
  const requests = new Histogram({
    name: 'sallyport_proxy_request_seconds',
    help: 'HTTP requests by the pattern of their route.',
    labelNames: ['route', 'status'],
    buckets: seconds,
    registers,
  });
  return {
    routed: (route) => routed.inc({ route }),
    refused: (why) => refused.inc({ why }),
    authBytes: (count) => authBytes.inc(count),
    authDialFailed: () => authFailed.inc(),
    handshakeFailed: () => failed.inc(),
    loginRefused: (service, kind) => logins.inc({ service, kind }),
    answered: (route, status, took) => requests.observe({ route, status: String(status) }, took),
    dialled: (outcome, took) => dials.observe({ outcome }, took),
    streams: (change) => {
      open += change;
    },
    moved: (count) => bytes.inc(count),
  };
}
