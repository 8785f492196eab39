// The proxy's composition: one web port that carries everything, the SSH gateway and the tunnel server.
import type { TLSSocket } from 'node:tls';
import { alpnProtocols } from '@sallyport/contracts/api/tunnel.ts';
import { Registry } from 'prom-client';
import type { Address } from '../config/config.ts';
import type { ConnectionSource, Refusal, SshServer } from '../ssh-transport/ssh-server.ts';
import { Agents } from './agents.ts';
import { relayToAuth } from './auth-relay.ts';
import { ClusterTrust } from './cluster-trust.ts';
import { Gateway } from './gateway.ts';
import { type ProxyMetrics, proxyMetrics } from './metrics.ts';
import { NodeDialer } from './node-dialer.ts';
import type { ProxyLimits, ProxyOptions, Readiness, RunningProxy } from './proxy.ts';
import { proxyEvents, tellRefusal } from './refused-log-in.ts';
import { RelayWords } from './relay-words.ts';
import { createTlsEndpoint, type TlsEndpoint } from './tls-endpoint.ts';
import { startTlsMux, type TlsMux } from './tls-mux.ts';
import { agentLock, startTunnelServer } from './tunnel-server.ts';
import { browserLogInRoutes } from './web/browser-log-in-routes.ts';
import { ClusterSettings } from './web/cluster-settings.ts';
import { installRoutes } from './web/install-routes.ts';
import { mfaRoutes } from './web/mfa-page.ts';
import { setupRoutes } from './web/setup-routes.ts';
import { ssoRoutes } from './web/sso-routes.ts';
import { upgradeChannels } from './web/upgrade-channels.ts';
import { webApi } from './web/web-api.ts';
import { createWebServer, type WebServer } from './web/web-server.ts';
import { certificateProblem, WebCertificate } from './web-certificate.ts';

export type * from './proxy.ts';

/** Locks also end and begin by the clock; certificates of files are looked at as often. */
const sweepMs = 5_000;

function limitsOf({ config, limits }: ProxyOptions): ProxyLimits {
  const { maxConnections, maxUsers } = config.connectionLimits;
  return {
    maxConnections,
    maxPendingPerAddress: 64,
    helloTimeoutMs: 10_000,
    maxConnectionsPerUser: maxUsers,
    maxStreamsPerConnection: 64,
    maxAgents: 5_000,
    dialTimeoutMs: 10_000,
    spliceIdleMs: 0,
    requestsPerMinute: 600,
    attemptsPerMinute: 30,
    ...limits,
  };
}

/** Resolves when every port listens; rejects when an address is taken or a certificate unfit. */
export async function startProxy(options: ProxyOptions): Promise<RunningProxy> {
  const parts = new Parts(options);
  try {
    await parts.start();
    return parts;
  } catch (error) {
    await parts.close('the proxy could not start');
    throw error;
  }
}

class Parts implements RunningProxy {
  readonly registry: Registry;
  readonly #options: ProxyOptions;
  readonly #limits: ProxyLimits;
  readonly #agents: Agents;
  readonly #words: RelayWords;
  readonly #metrics: ProxyMetrics;
  readonly #undo: (() => void)[] = [];
  #certificate: WebCertificate | undefined;
  #endpoints: readonly TlsEndpoint[] = [];
  #gateway: Gateway | undefined;
  #tunnels: SshServer | undefined;
  #web: WebServer | undefined;
  #mux: TlsMux | undefined;
  #listening = false;

  constructor(options: ProxyOptions) {
    this.#options = options;
    this.#limits = limitsOf(options);
    this.#agents = new Agents(this.#limits.maxAgents);
    this.#words = new RelayWords(options);
    this.registry = options.registry ?? new Registry();
    this.#metrics = proxyMetrics(this.registry, {
      connections: () => this.#mux?.connections ?? 0,
      agents: () => this.#agents.count,
      gatewayConnections: () => this.#gateway?.server.stats.connections ?? 0,
    });
  }

  async start(): Promise<void> {
    await this.#startSsh();
    await this.#startWeb();
    this.#listening = true;
    const { identity, cluster } = this.#options;
    this.#undo.push(identity.onChange(() => this.#identityChanged()));
    this.#undo.push(cluster.onChange(() => this.#sweep()));
    const timer = setInterval(() => void this.#tick(), sweepMs).unref();
    this.#undo.push(() => clearInterval(timer));
  }

  get addresses(): RunningProxy['addresses'] {
    const none = { host: '', port: 0 };
    return {
      web: this.#mux?.address ?? none,
      ssh: this.#gateway?.server.address ?? none,
      tunnel: this.#tunnels?.address ?? none,
    };
  }

  get agents(): RunningProxy['agents'] {
    return this.#agents.list;
  }

  readiness(): Readiness {
    const { cluster, identity, now } = this.#options;
    const problems = [
      ...(this.#listening ? [] : ['the proxy does not listen']),
      ...(cluster.synced ? [] : ['the state of the cluster has not been read from auth yet']),
      ...certificateProblem(identity.tls.cert, now()),
    ];
    return { ready: problems.length === 0, problems };
  }

  stopListening(): void {
    this.#listening = false;
    this.#mux?.stopListening();
    this.#gateway?.server.listener.close();
    this.#tunnels?.listener.close();
  }

  get streams(): number {
    return this.#gateway?.server.stats.connections ?? 0;
  }

  retire(): void {
    this.stopListening();
    this.#agents.retire();
    this.#mux?.retire();
  }

  async close(reason: string): Promise<void> {
    this.#listening = false;
    for (const undo of this.#undo.splice(0)) undo();
    await Promise.all([this.#gateway?.server.close(reason), this.#tunnels?.close(reason)]);
    await this.#web?.close();
    await this.#mux?.close();
  }

  async #startSsh(): Promise<void> {
    const proxy = this.#options;
    const event = proxyEvents(proxy);
    const trust = new ClusterTrust(proxy.cluster);
    const limits = this.#limits;
    const agents = this.#agents;
    const dialer = new NodeDialer({
      agents,
      words: this.#words,
      timeoutMs: limits.dialTimeoutMs,
    });
    const meter = this.#metrics;
    const refused = (service: 'gateway' | 'tunnel') => (refusal: Refusal) => {
      meter.loginRefused(service, refusal.kind);
      tellRefusal(proxy, event, refusal);
    };
    const gateway = { proxy, trust, dialer, limits, event, meter, refused: refused('gateway') };
    this.#gateway = await Gateway.start(gateway);
    const { maxAgents } = limits;
    this.#tunnels = await startTunnelServer({ proxy, trust, agents, maxAgents, refused: refused('tunnel') });
  }

  async #startWeb(): Promise<void> {
    const { config, identity, log, api, version, now } = this.#options;
    const files = config.proxy.httpsKeypairs;
    const certificate = await WebCertificate.open(files, identity.tls, log);
    this.#certificate = certificate;
    const addresses = () => this.addresses;
    const settings = new ClusterSettings({ api, proxy: config.proxy, addresses, version, now });
    this.#web = await createWebServer({
      certificate,
      strictTransport: files.length > 0,
      version,
      requestsPerMinute: this.#limits.requestsPerMinute,
      attemptsPerMinute: this.#limits.attemptsPerMinute,
      log,
      onAnswered: (route, status, seconds) => this.#metrics.answered(route, status, seconds),
      routes: [
        webApi({ api, settings, version }),
        upgradeChannels(version),
        installRoutes({
          config: config.proxy,
          settings,
          trust: () => this.#options.cluster.trust,
          version,
          log,
        }),
        setupRoutes({ api, settings }),
        browserLogInRoutes({ api, settings }),
        ssoRoutes({ api, settings }),
        mfaRoutes({ api }),
      ],
    });
    this.#mux = await this.#startMux(this.#web);
  }

  #startMux(web: WebServer): Promise<TlsMux> {
    const { config, log, dialAuth } = this.#options;
    const ssh = this.#endpoint(alpnProtocols.ssh, (stream) =>
      this.#gateway?.server.handle(stream, ends(stream)),
    );
    const tunnel = this.#endpoint(alpnProtocols.tunnel, (stream) =>
      this.#tunnels?.handle(stream, ends(stream)),
    );
    this.#endpoints = [ssh, tunnel];
    const metrics = this.#metrics;
    const relay = {
      dialAuth: () => dialAuth.call(this.#options),
      preface: async (remote: Address) =>
        this.#options.authTakesRelayLine?.() === true ? this.#words.line('auth', remote) : undefined,
      timeoutMs: this.#limits.dialTimeoutMs,
      moved: (bytes: number) => metrics.authBytes(bytes),
      failed: () => metrics.authDialFailed(),
      log,
    };
    return startTlsMux({
      listen: config.proxy.webListenAddr,
      bind: this.#options.bind?.('proxy-web'),
      ...this.#limits,
      routes: {
        auth: (socket) => {
          metrics.routed('auth');
          void relayToAuth(socket, relay);
        },
        ssh: (socket) => {
          metrics.routed('ssh');
          ssh.accept(socket);
        },
        tunnel: (socket) => {
          metrics.routed('tunnel');
          tunnel.accept(socket);
        },
        web: (socket) => {
          metrics.routed('web');
          web.accept(socket);
        },
      },
      onRefused: (why) => metrics.refused(why),
      log,
    });
  }

  /** Our own clients trust the host CA: the operator's certificates are for browsers. */
  #endpoint(protocol: string, serve: (stream: TLSSocket) => void): TlsEndpoint {
    const { identity, log } = this.#options;
    const onFailed = () => this.#metrics.handshakeFailed();
    return createTlsEndpoint({ keyPair: identity.tls, protocol, serve, onFailed, log });
  }

  #identityChanged(): void {
    const { identity, log } = this.#options;
    try {
      for (const endpoint of this.#endpoints) endpoint.setKeyPair(identity.tls);
      this.#certificate?.setOwn(identity.tls);
      this.#web?.certificateChanged();
      this.#gateway?.server.setHostKeys(identity.hostKeys);
      this.#tunnels?.setHostKeys(identity.hostKeys);
      log.info({}, 'the proxy shows its renewed identity');
    } catch (error) {
      log.error({ error: String(error) }, 'the renewed identity cannot be used; the old one stays in use');
    }
  }

  async #tick(): Promise<void> {
    this.#sweep();
    if (await this.#certificate?.reload()) this.#web?.certificateChanged();
  }

  #sweep(): void {
    if (this.#options.cluster.locks.length === 0) return;
    this.#gateway?.sweep();
    this.#agents.sweep((hostUuid) => agentLock(this.#options, hostUuid));
  }
}

/** TLS was ended here; whom it is from the socket knows. */
function ends(stream: TLSSocket): ConnectionSource {
  return {
    remote: { host: stream.remoteAddress ?? '', port: stream.remotePort ?? 0 },
    local: { host: stream.localAddress ?? '', port: stream.localPort ?? 0 },
  };
}
