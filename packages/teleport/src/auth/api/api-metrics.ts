// What the API counts, in Prometheus' terms. Labels are bounded: names of routes, statuses and reasons, never a
// path or an address.
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

export interface ApiMetrics {
  /** `route`: its name in the table; `none` when no route matched. */
  answered(route: string, status: number, seconds: number): void;
  /** Turned away before a handler saw it. */
  refused(reason: 'rights' | 'certificate' | 'rate' | 'busy' | 'version'): void;
  /** Streams open now, up or down by one. */
  streams(change: 1 | -1): void;
}

/** Upper bounds, seconds: most calls take a millisecond, a log-in some hundred (argon2id). */
const buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60];

/** One per registry: listeners of the same process share it. */
export function apiMetrics(registry: Registry): ApiMetrics {
  const registers = [registry];
  const answered = new Counter({
    name: 'sallyport_api_requests_total',
    help: 'Calls of the API that were answered.',
    labelNames: ['route', 'status'] as const,
    registers,
  });
  const latency = new Histogram({
    name: 'sallyport_api_request_seconds',
    help: 'From the head of a request to the end of its answer; streams are left out.',
    labelNames: ['route'] as const,
    buckets,
    registers,
  });
  const refused = new Counter({
    name: 'sallyport_api_refused_total',
    help: 'Calls turned away before their handler: rights, certificate, rate, busy, version.',
    labelNames: ['reason'] as const,
    registers,
  });
  const streams = new Gauge({
    name: 'sallyport_api_streams',
    help: 'Streams that are open.',
    registers,
  });
  return {
    answered(route, status, seconds) {
      answered.inc({ route, status });
      latency.observe({ route }, seconds);
    },
    refused: (reason) => refused.inc({ reason }),
    streams: (change) => streams.inc(change),
  };
}
