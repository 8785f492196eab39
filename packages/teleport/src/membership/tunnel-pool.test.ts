import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import type { ProxyDocument } from '@sallyport/contracts/api/resources.ts';
import type { HostRole } from '@sallyport/contracts/api/route.ts';
import { alpnProtocols, tunnelChannel } from '@sallyport/contracts/api/tunnel.ts';
import { Authorities } from '../ca/authorities.ts';
import { openHostKeys } from '../ca/host-keys.ts';
import { parsePublicKeyLine } from '../ca/public-key.ts';
import { verifyHostCertificate } from '../ca/verify.ts';
import type { Address } from '../config/config.ts';
import { startSshServer } from '../ssh-transport/server.ts';
import type { SshConnection, SshServer } from '../ssh-transport/ssh-server.ts';
import {
  certify,
  collectLog,
  makeMember,
  type TestMember,
  temporaryDirectory,
  until,
} from './auth-stub.fixture.ts';
import { Backoff } from './backoff.ts';
import { startTunnelPool, type TunnelPool, type TunnelPoolOptions } from './tunnel-pool.ts';

/** The tunnel server of a proxy, as far as an agent sees it. */
class StubProxy {
  readonly uuid = randomUUID();
  readonly agents: SshConnection<string>[] = [];
  /** Logged in, ever. */
  accepted = 0;
  refused: string[] = [];
  readonly #authorities: Authorities;
  #server: SshServer | undefined;
  address: Address = { host: '127.0.0.1', port: 0 };

  constructor(authorities: Authorities) {
    this.#authorities = authorities;
  }

  async start(t: TestContext, roles: readonly HostRole[] = ['proxy']): Promise<this> {
    const keys = await openHostKeys(await temporaryDirectory(t));
    const granted = await certify(this.#authorities, keys, { hostUuid: this.uuid, roles });
    const certificate = Buffer.from(granted.ssh_certificate, 'base64');
    this.#server = await startSshServer<string>({
      listen: this.address,
      hostKeys: [{ privateKey: keys.ssh.privateKey, certificate }],
      authenticate: async ({ login, blob }) => {
        const trustedCas = this.#authorities.trust().ssh_host_cas.map(parsePublicKeyLine);
        const verdict = verifyHostCertificate({ blob, trustedCas, host: login, now: new Date() });
        if (verdict.ok) return { ok: true, identity: login };
        this.refused.push(verdict.reason);
        return { ok: false, reason: verdict.reason };
      },
      onConnection: (connection) => {
        this.accepted++;
        // As the real one does: the newest tunnel of a host stays.
        for (const older of this.agents) {
          if (older.identity === connection.identity) older.close('replaced by a newer connection');
        }
        this.agents.push(connection);
        void connection.closed.then(() => this.agents.splice(this.agents.indexOf(connection), 1));
        return {};
      },
    });
    this.address = this.#server.address;
    t.after(() => this.stop());
    return this;
  }

  async stop(): Promise<void> {
    await this.#server?.close('the proxy stops');
    this.#server = undefined;
  }

  /** TLS with ALPN in front, as the web port has it. */
  async webPort(t: TestContext): Promise<Address> {
    const keys = await openHostKeys(await temporaryDirectory(t));
    const granted = await certify(this.#authorities, keys, { hostUuid: this.uuid, roles: ['proxy'] });
    const server = createTlsServer(
      { key: keys.tls.keyPem, cert: granted.tls_certificate, ALPNProtocols: [alpnProtocols.tunnel] },
      (socket) => {
        socket.on('error', () => undefined);
        const remote = { host: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 };
        this.#server?.handle(socket, { remote });
      },
    );
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
  }

  get document(): ProxyDocument {
    const addr = `${this.address.host}:${this.address.port}`;
    return {
      kind: 'proxy',
      metadata: { name: this.uuid },
      spec: {
        hostname: 'p',
        web_addr: '127.0.0.1:1',
        ssh_addr: '127.0.0.1:2',
        tunnel_addr: addr,
        version: '1.2.3',
      },
    };
  }
}

/** Proxies that the cluster tells of, as the cache would. */
class Told {
  proxies: ProxyDocument[] = [];
  readonly #listeners = new Set<() => void>();

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(...proxies: ProxyDocument[]): void {
    this.proxies = proxies;
    for (const listener of this.#listeners) listener();
  }
}

async function openAuthorities(t: TestContext): Promise<Authorities> {
  const dataDir = join(await temporaryDirectory(t), 'auth');
  return Authorities.open({ dataDir, clusterName: 'prod', create: true, now: () => new Date() });
}

interface Taken {
  readonly stream: Duplex;
  readonly remote: Address;
}

function startPool(
  t: TestContext,
  { member }: TestMember,
  told: Told,
  more: Partial<TunnelPoolOptions> = {},
) {
  const taken: Taken[] = [];
  const log = collectLog();
  const pool: TunnelPool = startTunnelPool({
    member,
    cluster: told,
    configured: [],
    take: (stream, remote) => taken.push({ stream, remote }),
    now: () => new Date(),
    log,
    backoff: () => new Backoff({ firstMs: 5, maxMs: 20 }),
    ...more,
  });
  t.after(() => pool.close());
  return { pool, taken, log };
}

const opening = (host: string) => Buffer.from(JSON.stringify({ remote: { host, port: 4711 } }));

test('a proxy reaches a host through its tunnel, in both directions and with the address of the person', async (t) => {
  const authorities = await openAuthorities(t);
  const proxy = await new StubProxy(authorities).start(t);
  const host = await makeMember(t, authorities);
  const told = new Told();
  told.proxies = [proxy.document];
  const { pool, taken } = startPool(t, host, told);
  await until('the tunnel is up', () => pool.connected.includes(proxy.uuid) && proxy.agents.length === 1);
  assert.equal(proxy.agents[0]?.identity, host.member.hostUuid);
  const stream = await proxy.agents[0].openChannel(tunnelChannel, opening('192.0.2.7'));
  assert.deepEqual(taken[0]?.remote, { host: '192.0.2.7', port: 4711 });
  taken[0].stream.pipe(taken[0].stream);
  const sent = Buffer.alloc(3 * 2 ** 20, 'tunnel');
  stream.end(sent);
  const received: Buffer[] = [];
  for await (const chunk of stream) received.push(chunk as Buffer);
  assert.ok(Buffer.concat(received).equals(sent));
});

test('only streams of the one type are taken, and only with an opening that can be read', async (t) => {
  const authorities = await openAuthorities(t);
  const proxy = await new StubProxy(authorities).start(t);
  const told = new Told();
  told.proxies = [proxy.document];
  const { taken } = startPool(t, await makeMember(t, authorities), told);
  await until('the tunnel is up', () => proxy.agents.length === 1);
  const [agent] = proxy.agents;
  assert.ok(agent);
  await assert.rejects(agent.openChannel('session', opening('x')), { code: 'ssh.channel_refused' });
  await assert.rejects(agent.openChannel(tunnelChannel, Buffer.from('{')), { code: 'ssh.channel_refused' });
  await assert.rejects(agent.openChannel(tunnelChannel, Buffer.from('{"remote":{"host":1}}')), {
    code: 'ssh.channel_refused',
  });
  assert.equal(taken.length, 0);
});

test('every proxy the cluster tells of is connected, and one that is gone is let go', async (t) => {
  const authorities = await openAuthorities(t);
  const proxies = [
    await new StubProxy(authorities).start(t),
    await new StubProxy(authorities).start(t),
  ] as const;
  const told = new Told();
  const { pool } = startPool(t, await makeMember(t, authorities), told);
  told.tell(proxies[0].document);
  await until('the first is connected', () => pool.connected.length === 1);
  told.tell(proxies[0].document, proxies[1].document);
  await until('both are', () => pool.connected.length === 2);
  assert.equal(proxies[0].accepted, 1, 'the first was left alone');
  told.tell(proxies[1].document);
  await until(
    'the first is let go',
    () => pool.connected.join() === proxies[1].uuid && proxies[0].agents.length === 0,
  );
});

test('a proxy that was restarted is connected again', async (t) => {
  const authorities = await openAuthorities(t);
  const proxy = await new StubProxy(authorities).start(t);
  const told = new Told();
  told.proxies = [proxy.document];
  const { pool, log } = startPool(t, await makeMember(t, authorities), told);
  await until('the tunnel is up', () => pool.connected.length === 1);
  await proxy.stop();
  await until('the loss shows', () => pool.connected.length === 0);
  await until('why is told', () => /cannot be reached|has ended/.test(pool.tunnels[0]?.problem ?? ''));
  await proxy.start(t);
  await until('the tunnel is up again', () => pool.connected.length === 1 && proxy.agents.length === 1);
  assert.ok(log.lines.some(({ message }) => message === 'a reverse tunnel has ended'));
});

test('the configured web port comes first, by ALPN; the same proxy gets no second tunnel', async (t) => {
  const authorities = await openAuthorities(t);
  const proxy = await new StubProxy(authorities).start(t);
  const other = await new StubProxy(authorities).start(t);
  const configured = [await proxy.webPort(t)];
  const told = new Told();
  const { pool } = startPool(t, await makeMember(t, authorities), told, { configured });
  await until('the tunnel is up', () => pool.connected.join() === proxy.uuid);
  told.tell(proxy.document, other.document);
  await until('both are connected', () => pool.connected.length === 2);
  assert.deepEqual([proxy.accepted, other.accepted], [1, 1]);
  // Through the configured address the tunnel is lost; the direct way takes its place at once, or it comes back.
  proxy.agents[0]?.close('a test');
  await until('there is one again', () => proxy.accepted === 2 && pool.connected.length === 2);
  assert.equal(proxy.agents.length, 1);
});

test('a host with many ways to one proxy never has two tunnels to it', async (t) => {
  const authorities = await openAuthorities(t);
  const proxy = await new StubProxy(authorities).start(t);
  const configured = [await proxy.webPort(t), await proxy.webPort(t), await proxy.webPort(t)];
  const told = new Told();
  told.proxies = [proxy.document];
  const { pool } = startPool(t, await makeMember(t, authorities), told, { configured });
  await until('one is up', () => pool.connected.length === 1);
  await until('the others have given up', () => pool.tunnels.every(({ problem }) => problem === undefined));
  assert.deepEqual([proxy.accepted, proxy.agents.length], [1, 1]);
});

test('what is no proxy of this cluster gets no tunnel: another authority, another role, another proxy', async (t) => {
  const authorities = await openAuthorities(t);
  const host = await makeMember(t, authorities);
  const stranger = await new StubProxy(await openAuthorities(t)).start(t);
  const node = await new StubProxy(authorities).start(t, ['node']);
  const other = await new StubProxy(authorities).start(t);
  const misled = { ...other.document, metadata: { name: randomUUID() } };
  const cases = [
    [stranger.document, /signed by a CA this cluster does not trust/],
    [node.document, /its certificate is not one of a proxy/],
    [misled, /the host certificate is not for/],
  ] as const;
  for (const [document, reason] of cases) {
    const told = new Told();
    told.proxies = [document];
    const { pool } = startPool(t, host, told);
    await until('why is told', () => reason.test(pool.tunnels[0]?.problem ?? ''));
    assert.deepEqual(pool.connected, []);
    await pool.close();
  }
  assert.equal(stranger.accepted + node.accepted + other.accepted, 0, 'none of them saw a log-in');
});

test('a proxy that falls silent is noticed and left', async (t) => {
  const authorities = await openAuthorities(t);
  const proxy = await new StubProxy(authorities).start(t);
  // A wire that can be held without being cut.
  const pairs: { pause(): void }[] = [];
  const wire = createTcpServer((near) => {
    const far = connect(proxy.address.port, proxy.address.host);
    near.on('error', () => far.destroy()).on('close', () => far.destroy());
    far.on('error', () => near.destroy()).on('close', () => near.destroy());
    near.pipe(far).pipe(near);
    pairs.push({
      pause: () => {
        near.unpipe();
        far.unpipe();
        near.pause();
        far.pause();
      },
    });
  });
  wire.listen(0, '127.0.0.1');
  await once(wire, 'listening');
  t.after(() => wire.close());
  const { port } = wire.address() as AddressInfo;
  const document = { ...proxy.document, spec: { ...proxy.document.spec, tunnel_addr: `127.0.0.1:${port}` } };
  const told = new Told();
  told.proxies = [document];
  const { pool } = startPool(t, await makeMember(t, authorities), told, { keepaliveMs: 300 });
  await until('the tunnel is up', () => pool.connected.length === 1);
  for (const pair of pairs) pair.pause();
  await until('a new tunnel is up', () => proxy.accepted === 2 && pool.connected.length === 1, 20_000);
});
