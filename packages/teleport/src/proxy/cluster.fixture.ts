// A cluster around a proxy, for tests: its authorities, hosts and users with real certificates, a view of it that a
// test changes at will, and OpenSSH's own sshd as a node.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import type { Trust } from '@sallyport/contracts/api/auth-routes.ts';
import type { LockDocument, NodeDocument } from '@sallyport/contracts/api/resources.ts';
import { tunnelChannel } from '@sallyport/contracts/api/tunnel.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { AuditEvent } from '@sallyport/contracts/events/event.ts';
import { identityExtensions } from '../ca/identity.ts';
import { identityToExtensions } from '../ca/identity-extensions.ts';
import { type CertificateRequest, issueCertificate } from '../ca/issue.ts';
import { certAuthorityLine } from '../ca/known-hosts.ts';
import { generateEd25519, writePrivateKey } from '../ca/openssh-private-key.ts';
import { publicKeyBlob, publicKeyLine } from '../ca/public-key.ts';
import { KeySigner } from '../ca/signature.ts';
import { loadConfig } from '../config/load-config.ts';
import { freePort } from '../free-port.fixture.ts';
import { connectSsh } from '../ssh-transport/client.ts';
import type { SshClient } from '../ssh-transport/ssh-client.ts';
import type { HostKey } from '../ssh-transport/ssh-server.ts';
import { clusterName, newTlsAuthority, tlsLeaf } from './identity.fixture.ts';
import { silentLog } from './log.fixture.ts';
import type { ProxyOptions, RunningProxy } from './proxy.ts';
import { splice } from './splice.ts';
import { startProxy } from './start-proxy.ts';

export { until } from '../until.fixture.ts';

export const login = userInfo().username;
export const folder = mkdtempSync(join(tmpdir(), 'sallyport-proxy-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

const hour = 3_600_000;
export const hostCa = new KeySigner(generateEd25519());
export const userCa = new KeySigner(generateEd25519());
export const tlsAuthority = await newTlsAuthority();

export interface TestHost {
  readonly uuid: string;
  readonly key: HostKey;
  readonly privateKey: string;
  readonly certificate: Buffer;
}

export async function newHost(
  roles: readonly string[],
  names: readonly string[],
  changes: Partial<CertificateRequest> & { readonly ca?: KeySigner } = {},
): Promise<TestHost> {
  const uuid = randomUUID();
  const key = generateEd25519();
  const certificate = await issueCertificate(changes.ca ?? hostCa, {
    type: 'host',
    publicKey: publicKeyBlob(key),
    keyId: uuid,
    principals: [uuid, ...names, 'localhost', '127.0.0.1'],
    validAfter: new Date(Date.now() - hour),
    validBefore: new Date(Date.now() + hour),
    extensions: { [identityExtensions.roles]: JSON.stringify(roles) },
    ...changes,
  });
  const privateKey = writePrivateKey(key, '');
  return { uuid, key: { privateKey, certificate }, privateKey, certificate };
}

/** Files for `ssh -i`; the path of the private key. */
export async function newUser(
  user: string,
  changes: Partial<CertificateRequest> & { readonly ca?: KeySigner; readonly roles?: string[] } = {},
): Promise<string> {
  const key = generateEd25519();
  const claims = { kinds: [], lossPolicy: 'best_effort', recordSession: 'best_effort', traits: {} } as const;
  const certificate = await issueCertificate(changes.ca ?? userCa, {
    type: 'user',
    publicKey: publicKeyBlob(key),
    keyId: user,
    principals: [login],
    validAfter: new Date(Date.now() - hour),
    validBefore: new Date(Date.now() + hour),
    extensions: identityToExtensions({ ...claims, roles: changes.roles ?? ['access'], portForwarding: true }),
    ...changes,
  });
  const path = join(folder, `${user}-${randomUUID()}`);
  writeFileSync(path, writePrivateKey(key, user), { mode: 0o600 });
  writeFileSync(`${path}-cert.pub`, publicKeyLine(certificate));
  return path;
}

export const knownHosts = join(folder, 'known_hosts');
writeFileSync(knownHosts, `${certAuthorityLine(hostCa.publicKey, clusterName)}\n`);

/** What auth and the watch would know; change it, then `changed()`. */
export class TestCluster {
  readonly trust: Trust = {
    cluster_name: clusterName,
    ssh_host_cas: [publicKeyLine(hostCa.publicKey)],
    ssh_user_cas: [publicKeyLine(userCa.publicKey)],
    tls_host_cas: [tlsAuthority.certificatePem],
    tls_user_cas: [tlsAuthority.certificatePem],
  };
  nodes: NodeDocument[] = [];
  locks: LockDocument[] = [];
  readonly proxies = [];
  readonly synced = true;
  readonly #listeners = new Set<() => void>();

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  changed(): void {
    for (const listener of this.#listeners) listener();
  }

  addNode(host: TestHost, hostname: string, addr?: string): NodeDocument {
    const node: NodeDocument = {
      kind: 'node',
      metadata: { name: host.uuid },
      spec: { hostname, ...(addr && { addr }), tunnel: addr === undefined, labels: {}, version: '1.0.0' },
    };
    this.nodes = [...this.nodes, node];
    return node;
  }

  lock(target: LockDocument['spec']['target'], message?: string): void {
    const spec = { target, ...(message && { message }) };
    this.locks = [...this.locks, { kind: 'lock', metadata: { name: randomUUID() }, spec }];
    this.changed();
  }
}

export interface TestProxy {
  readonly proxy: RunningProxy;
  readonly options: ProxyOptions;
  readonly cluster: TestCluster;
  readonly events: AuditEvent[];
  readonly host: TestHost;
}

const away = async (): Promise<never> => {
  throw new AppError('unavailable', 'api.unreachable', 'Auth cannot be reached.');
};
/** An auth that is away: what a test of streams needs of it. */
const noApi = new Proxy({}, { get: () => away }) as ProxyOptions['api'];

export async function startTestProxy(changes: Partial<ProxyOptions> = {}): Promise<TestProxy> {
  const { config } = loadConfig(`
version: v3
teleport: { nodename: proxy-1, data_dir: ${folder}, auth_server: 127.0.0.1:3025 }
auth_service: { enabled: false }
ssh_service: { enabled: false }
proxy_service:
  enabled: true
  web_listen_addr: 127.0.0.1:0
  listen_addr: 127.0.0.1:0
  tunnel_listen_addr: 127.0.0.1:0
`);
  const cluster = new TestCluster();
  const events: AuditEvent[] = [];
  const host = await newHost(['proxy'], [`proxy.${clusterName}`]);
  const options: ProxyOptions = {
    config,
    identity: {
      hostUuid: host.uuid,
      hostKeys: [host.key],
      tls: await tlsLeaf(tlsAuthority, ['localhost', '127.0.0.1']),
      onChange: () => () => {},
    },
    api: noApi,
    cluster,
    audit: {
      append: async (added) => {
        events.push(...added);
      },
    },
    log: silentLog,
    version: '1.2.3',
    now: () => new Date(),
    dialAuth: away,
    ...changes,
  };
  return { proxy: await startProxy(options), options, cluster, events, host };
}

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface SshCall {
  /** Path of the private key. */
  readonly key: string;
  readonly options?: readonly string[];
}

/** OpenSSH's client, trusting our host CA only. */
export function sshArguments({ key, options = [] }: SshCall): string[] {
  const settings = [
    ...options,
    `UserKnownHostsFile=${knownHosts}`,
    'GlobalKnownHostsFile=none',
    'StrictHostKeyChecking=yes',
    'BatchMode=yes',
    'IdentitiesOnly=yes',
    'IdentityAgent=none',
    `CertificateFile=${key}-cert.pub`,
  ];
  return ['-F', 'none', ...settings.flatMap((setting) => ['-o', setting]), '-i', key];
}

export function ssh(call: SshCall, ...more: readonly string[]): Promise<Finished> {
  const { promise, resolve } = Promise.withResolvers<Finished>();
  const child = execFile(
    'ssh',
    [...sshArguments(call), ...more],
    { maxBuffer: 1 << 28, timeout: 30_000 },
    (_error, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
  );
  child.stdin?.end();
  return promise;
}

/** The way through the gateway: what `ssh -J` does, with the same key and trust for the jump. */
export function jump(
  { key }: SshCall,
  port: number,
  target = '[%h]:%p',
  extra: readonly string[] = [],
): string {
  const words = [...sshArguments({ key }), ...extra, '-p', `${port}`, '-W', target, `${login}@127.0.0.1`];
  return `ProxyCommand=ssh ${words.map((word) => (word.includes(' ') ? `"${word}"` : word)).join(' ')}`;
}

export interface TestNode {
  readonly host: TestHost;
  readonly port: number;
  stop(): void;
}

/** A node: OpenSSH's sshd with a host certificate of ours, letting in our users. */
export async function startNode(hostname: string): Promise<TestNode> {
  const host = await newHost(['node'], [hostname, `${hostname}.${clusterName}`]);
  const port = await freePort();
  mkdirSync('/run/sshd', { recursive: true });
  const path = join(folder, `sshd-${host.uuid}`);
  writeFileSync(path, host.privateKey, { mode: 0o600 });
  writeFileSync(`${path}-cert.pub`, `${publicKeyLine(host.certificate)}\n`);
  writeFileSync(`${path}-ca.pub`, `${publicKeyLine(userCa.publicKey)}\n`);
  const settings = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${path}`,
    `HostCertificate ${path}-cert.pub`,
    `TrustedUserCAKeys ${path}-ca.pub`,
    'PidFile none',
    'UsePAM no',
    'StrictModes no',
    'PermitRootLogin yes',
    'PasswordAuthentication no',
  ];
  writeFileSync(`${path}.conf`, `${settings.join('\n')}\n`);
  const child = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', `${path}.conf`], { stdio: 'pipe' });
  await listening(child);
  return { host, port, stop: () => void child.kill() };
}

function listening(child: ChildProcess): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let log = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    log += text;
    if (log.includes('Server listening')) resolve();
  });
  child.once('exit', () => reject(new Error(`sshd: ${log}`)));
  return promise;
}

/** The node's side of a reverse tunnel. `openings` gets what the proxy said of each stream. */
export async function dialTunnel(
  port: number,
  host: Pick<TestHost, 'uuid' | 'key'>,
  nodePort: number,
  openings: unknown[] = [],
): Promise<SshClient> {
  return connectSsh({
    stream: connect({ port, host: '127.0.0.1', noDelay: true }),
    login: host.uuid,
    keys: [
      { privateKey: host.key.privateKey, ...(host.key.certificate && { certificate: host.key.certificate }) },
    ],
    verifyHost: () => true,
    handler: {
      channel: ({ type, payload }) => {
        if (type !== tunnelChannel) return { refuse: 'unknown-type', text: 'no' };
        openings.push(JSON.parse(payload.toString('utf8')));
        return {
          accept: (channel) => {
            const node = connect({ port: nodePort, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
            void splice(channel, node);
          },
        };
      },
    },
  });
}
