// teleport.yaml → Config. The only place that knows how the file's words become ours.
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Config, ConfigWarning, EnhancedRecordingConfig, LoadedConfig } from './config.ts';
import { teleportYaml } from './teleport-yaml.ts';
import { YamlReader } from './yaml-reader.ts';

type Raw = ReturnType<typeof teleportYaml.read>;

/** Where `teleport start` and `tctl` look when no -c/--config is given. */
export const defaultConfigPath = '/etc/teleport.yaml';

const pageBytes = 4096;
/** Never smaller: the documented defaults (576 KiB together) hold about ten commands in flight and lose events. */
const minRingBytes = 16 * 1024 * 1024;
const dayMs = 24 * 3600 * 1000;
const maxRingBytes = 1024 * 1024 * 1024;

/** Throws AppError `config.invalid`: each problem as `file:line:column: …`. */
export function loadConfig(text: string, source = 'teleport.yaml'): LoadedConfig {
  const reader = new YamlReader(text, source);
  const root = reader.root;
  const raw = teleportYaml.read(root, { reader, path: '', anchor: root });
  checkDialect(raw, reader);
  checkTokens(raw, reader);
  checkStorage(raw, reader);
  checkPamEnvironment(raw, reader);
  checkLabelCommands(raw, reader);
  reader.finish();
  return {
    config: deepFreeze(toConfig(raw)),
    warnings: inFileOrder(reader.warnings),
  };
}

/** All three services, everything at its default: what runs when there is no file. */
export function defaultConfig(): LoadedConfig {
  return loadConfig('', 'defaults');
}

/**
 * With a path, that file must be there. Without one: `$TELEPORT_CONFIG_FILE`, else /etc/teleport.yaml, else the
 * defaults.
 */
export async function loadConfigFile(path?: string): Promise<LoadedConfig> {
  const named = path ?? process.env['TELEPORT_CONFIG_FILE'];
  try {
    return loadConfig(await readFile(named ?? defaultConfigPath, 'utf8'), named ?? defaultConfigPath);
  } catch (error) {
    if (error instanceof AppError) throw error;
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (missing && named === undefined) return defaultConfig();
    const why = missing ? 'there is no such file' : 'it cannot be read';
    const hint = missing
      ? '`teleport configure -o FILE` writes one.'
      : 'Check that it is a file this user may read.';
    throw new AppError(
      missing ? 'not_found' : 'unavailable',
      'config.unreadable',
      `Configuration ${named ?? defaultConfigPath}: ${why}.`,
      {
        cause: error,
        hint,
      },
    );
  }
}

function checkDialect(raw: Raw, reader: YamlReader): void {
  const given = (key: string) => reader.given.get(`teleport.${key}`);
  const v3 = raw.version === 'v3';
  const foreign = v3 ? ['auth_servers'] : ['auth_server', 'proxy_server'];
  for (const key of foreign) {
    const position = given(key);
    const instead = v3 ? 'use auth_server or proxy_server' : 'use auth_servers, or say version: v3';
    if (position)
      reader.problem(position, `teleport.${key} is not a key of version ${raw.version}: ${instead}`);
  }
  const [auth, proxy] = [given('auth_server'), given('proxy_server')];
  if (!v3 || !auth || !proxy) return;
  reader.warnings.push({
    code: 'both_upstreams',
    key: 'teleport.auth_server',
    message: `both auth_server (line ${auth.line}) and proxy_server (line ${proxy.line}) are given; proxy_server is used, auth_server is not`,
    ...auth,
  });
}

function checkStorage(raw: Raw, reader: YamlReader): void {
  const { storage } = raw.teleport;
  const key = 'teleport.storage';
  const type = reader.given.get(`${key}.type`);
  const connString = reader.given.get(`${key}.conn_string`);
  if (storage.type === 'postgresql' && type && !connString)
    reader.problem(type, `${key}.type is postgresql, but ${key}.conn_string is not set`);
  if (storage.type !== 'postgresql' && connString)
    reader.problem(connString, `${key}.conn_string is set, but ${key}.type is ${storage.type}`);
  const events = reader.given.get(`${key}.audit_events_uri`);
  if (events && new Set(storage.audit_events_uri).size < storage.audit_events_uri.length)
    reader.problem(events, `${key}.audit_events_uri names a place twice`);
  if (events && storage.audit_events_uri[0] === 'stdout://')
    reader.problem(
      events,
      `${key}.audit_events_uri: stdout:// cannot be searched, so another place comes first`,
    );
  const isApart = !storage.audit_events_uri.some((uri) => uri.startsWith('postgres'));
  if (events && isApart && raw.auth_service.enabled && storage.type === 'postgresql')
    reader.warnings.push({
      code: 'events_apart',
      key: `${key}.audit_events_uri`,
      message:
        'the store is one for all auth servers on it, the audit log is not: each of several would keep the events it ' +
        'took in files of its own, where some may be twice and a search sees one server; put a postgresql:// place first',
      ...events,
    });
  const retention = reader.given.get(`${key}.retention_period`);
  if (retention && (storage.retention_period ?? dayMs) < dayMs)
    reader.problem(retention, `${key}.retention_period must be at least 24h: whole days are dropped`);
}

function checkTokens(raw: Raw, reader: YamlReader): void {
  const position = reader.given.get('auth_service.tokens');
  if (!position || raw.auth_service.tokens.every((token) => /^[a-z]+(,[a-z]+)*:\S+$/.test(token))) return;
  reader.problem(
    position,
    'auth_service.tokens: each token must be "roles:secret", such as "proxy,node:secret"',
  );
}

/** As many as the launcher hands on (64), less those that are always set. */
const maxPamVariables = 60;

function checkPamEnvironment(raw: Raw, reader: YamlReader): void {
  const position = reader.given.get('ssh_service.pam.environment');
  if (!position) return;
  const names = Object.keys(raw.ssh_service.pam.environment);
  const bad = names.find((name) => !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name));
  if (bad !== undefined)
    reader.problem(position, `ssh_service.pam.environment: "${bad}" cannot be the name of a variable`);
  if (names.length > maxPamVariables)
    reader.problem(position, `ssh_service.pam.environment: at most ${maxPamVariables} variables`);
}

/** Each is a process once a period. */
const maxLabelCommands = 64;
const minLabelPeriodMs = 1000;

function checkLabelCommands(raw: Raw, reader: YamlReader): void {
  const position = reader.given.get('ssh_service.commands');
  if (!position) return;
  const { commands } = raw.ssh_service;
  const problem = (text: string) => reader.problem(position, `ssh_service.commands: ${text}`);
  if (commands.length > maxLabelCommands) problem(`at most ${maxLabelCommands} commands`);
  const names = commands.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) problem(`"${twice}" is there twice`);
  for (const { name, command, period } of commands) {
    if (!/^[^\s\p{C}]{1,256}$/u.test(name)) problem(`"${name}" cannot be the name of a label`);
    if (command.length === 0) problem(`"${name}" has no command`);
    if (period < minLabelPeriodMs) problem(`the period of "${name}" must be at least 1s`);
  }
}

function inFileOrder(warnings: readonly ConfigWarning[]): ConfigWarning[] {
  return [...warnings].sort((a, b) => (a.line ?? 0) - (b.line ?? 0));
}

function toConfig(raw: Raw): Config {
  const { teleport, auth_service: auth, ssh_service: ssh, proxy_service: proxy } = raw;
  // A container may have no name at all; an empty nodename would make empty principals.
  const nodename = teleport.nodename ?? (hostname() || 'localhost');
  const token = teleport.auth_token ?? teleport.join_params.token_name;
  return {
    version: raw.version,
    nodename,
    dataDir: teleport.data_dir,
    pidFile: teleport.pid_file,
    upstream: toUpstream(teleport),
    join: token === undefined ? undefined : { method: teleport.join_params.method, token },
    caPins: teleport.ca_pin,
    advertiseIp: teleport.advertise_ip,
    diagAddr: teleport.diag_addr,
    log: teleport.log,
    connectionLimits: {
      maxConnections: teleport.connection_limits.max_connections,
      maxUsers: teleport.connection_limits.max_users,
    },
    storage: {
      type: teleport.storage.type,
      connString: teleport.storage.conn_string,
      encryptionKeyFile: teleport.storage.encryption_key_file,
      auditEventsUris: teleport.storage.audit_events_uri,
      auditSessionsUri: teleport.storage.audit_sessions_uri,
      retentionPeriodMs: teleport.storage.retention_period,
    },
    auth: {
      enabled: auth.enabled,
      clusterName: auth.cluster_name ?? nodename,
      listenAddr: auth.listen_addr,
      tokens: auth.tokens.map(toToken),
      sessionRecording: auth.session_recording,
      authentication: {
        type: auth.authentication.type,
        secondFactor: auth.authentication.second_factor,
        webauthnRpId: auth.authentication.webauthn.rp_id,
        connectorName: auth.authentication.connector_name,
        localAuth: auth.authentication.local_auth,
        passwordless: auth.authentication.passwordless,
        requireSessionMfa: auth.authentication.require_session_mfa,
      },
      clientIdleTimeoutMs: auth.client_idle_timeout,
      disconnectExpiredCert: auth.disconnect_expired_cert,
    },
    ssh: toSsh(ssh),
    proxy: {
      enabled: proxy.enabled,
      webListenAddr: proxy.web_listen_addr,
      listenAddr: proxy.listen_addr,
      tunnelListenAddr: proxy.tunnel_listen_addr,
      publicAddrs: proxy.public_addr,
      httpsKeypairs: proxy.https_keypairs.map((pair) => ({
        keyFile: pair.key_file ?? '',
        certFile: pair.cert_file ?? '',
      })),
      acme: proxy.acme,
      packages: {
        dir: proxy.packages.dir ?? `${teleport.data_dir}/packages`,
        mirror: proxy.packages.mirror,
        keyFile: proxy.packages.key_file,
      },
    },
  };
}

function toUpstream(teleport: Raw['teleport']): Config['upstream'] {
  if (teleport.proxy_server) return { kind: 'proxy', addresses: [teleport.proxy_server] };
  if (teleport.auth_server) return { kind: 'auth', addresses: [teleport.auth_server] };
  return { kind: 'auth', addresses: teleport.auth_servers.filter((server) => server !== undefined) };
}

function toToken(token: string): { roles: string[]; secret: string } {
  const colon = token.indexOf(':');
  return { roles: token.slice(0, colon).split(','), secret: token.slice(colon + 1) };
}

function toSsh(ssh: Raw['ssh_service']): Config['ssh'] {
  return {
    enabled: ssh.enabled,
    listenAddr: ssh.listen_addr,
    publicAddrs: ssh.public_addr,
    labels: ssh.labels,
    commands: ssh.commands.map(({ name, command, period }) => ({ name, command, periodMs: period })),
    pam: {
      enabled: ssh.pam.enabled,
      serviceName: ssh.pam.service_name,
      environment: ssh.pam.environment,
    },
    portForwarding: ssh.port_forwarding,
    x11: { enabled: ssh.x11.enabled, firstDisplay: ssh.x11.display_offset },
    sshFileCopy: ssh.ssh_file_copy,
    permitUserEnvironment: ssh.permit_user_env,
    createHostUsers: !ssh.disable_create_host_user,
    enhancedRecording: toEnhancedRecording(ssh.enhanced_recording),
  };
}

function toEnhancedRecording(raw: Raw['ssh_service']['enhanced_recording']): EnhancedRecordingConfig {
  const pages = raw.command_buffer_size + raw.disk_buffer_size + raw.network_buffer_size;
  return {
    enabled: raw.enabled,
    commandBufferPages: raw.command_buffer_size,
    diskBufferPages: raw.disk_buffer_size,
    networkBufferPages: raw.network_buffer_size,
    cgroupPath: raw.cgroup_path,
    rootPath: raw.root_path,
    ringBytes: ringBytes(pages * pageBytes),
  };
}

/** BPF ring buffers come in powers of two only. */
export function ringBytes(asked: number): number {
  const power = 2 ** Math.ceil(Math.log2(Math.max(asked, minRingBytes)));
  return Math.min(power, maxRingBytes);
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}
