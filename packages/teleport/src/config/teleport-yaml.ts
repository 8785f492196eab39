// Every key of teleport.yaml: its type, its default, what it does. load-config.ts reads files by it, and the
// reference page and `teleport configure` are printed from it. Long because it is the list; there is no logic.
import type { Address } from './config.ts';
import {
  address,
  always,
  bool,
  databaseUri,
  duration,
  eventsUri,
  integer,
  list,
  name,
  oneOf,
  path,
  section,
  text,
  textMap,
  url,
} from './schema.ts';

const none = undefined;
const at = (host: string, port: number): Address => ({ host, port });
const listen = (port: number, doc: string) => address({ port, default: at('0.0.0.0', port), doc });
// 1 GiB for one kind: the kernel keeps the ring in locked memory, so a slip of the keyboard must not take it all.
const maxBufferPages = 262_144;
const bufferPages = (name: string, pages: number, what: string) =>
  integer({
    name,
    min: 0,
    max: maxBufferPages,
    default: pages,
    doc: `Room for ${what} events, in pages of 4 KiB. A floor, see below.`,
  });

const storage = section(
  {
    type: oneOf(['dir', 'sqlite', 'postgresql'], {
      default: 'sqlite',
      doc: 'Where users, roles, tokens and nodes are kept. `sqlite` and `dir` are a file in `data_dir`; `postgresql` is a database, for one auth server or several.',
    }),
    conn_string: databaseUri({
      default: none,
      doc: 'Of the `postgresql` store. `sslmode` is `verify-full` when not given, `disable` on a unix socket; also understood: `sslrootcert`, `sslcert`, `sslkey` (files), `host`, `port`, `pool_max_conns`.',
    }),
    encryption_key_file: path({
      default: none,
      doc: 'Seals what is secret in the store: keys of the authorities, password hashes, second factors. 32 random bytes in hex or base64, mode 0600, the same on every auth server.',
    }),
    audit_events_uri: list(eventsUri({ default: '', doc: 'A place for audit events.' }), {
      shown: '`log` in `data_dir`; with a `postgresql` store that database',
      doc: 'Where audit events go: `postgresql://…`, `file:///folder` or `stdout://`. With several an event counts as kept when every one of them has it; the first is searched.',
    }),
    audit_sessions_uri: text({
      default: none,
      doc: 'Where session recordings are uploaded to.',
      notYet: always,
    }),
    retention_period: duration({
      default: none,
      doc: 'How long audit events are kept, by the day they arrived: whole days are dropped. Without it, for ever.',
    }),
  },
  { doc: 'Where state is kept. Without it: files in `data_dir`.' },
);

const log = section(
  {
    output: text({ default: 'stderr', doc: '`stderr`, `stdout` or the path of a file.' }),
    severity: oneOf(['debug', 'info', 'warn', 'error'], {
      default: 'info',
      aliases: { warning: 'warn', err: 'error' },
      doc: 'The least severe messages to write.',
    }),
    format: oneOf(['text', 'json'], {
      default: 'text',
      doc: 'One line a message, for people or for machines.',
    }),
  },
  { doc: "The daemon's own log (not the audit log)." },
);

const teleport = section(
  {
    nodename: name({ default: none, shown: "the host's name", doc: 'Name of this host in the cluster.' }),
    data_dir: path({
      default: '/var/lib/teleport',
      doc: 'Keys, users, audit log, recordings and spool of this host.',
    }),
    pid_file: path({ default: none, doc: "Where to write the daemon's process id." }),
    auth_servers: list(address({ port: 3025, default: none, doc: 'An auth service.' }), {
      doc: 'Auth services of the cluster. Versions `v1` and `v2` only.',
    }),
    auth_server: address({
      port: 3025,
      default: none,
      doc: 'The auth service. Version `v3` only, instead of `proxy_server`.',
    }),
    proxy_server: address({
      port: 3080,
      default: none,
      doc: 'The proxy service. Version `v3` only, instead of `auth_server`; with both given, this one is used.',
    }),
    auth_token: text({
      default: none,
      doc: 'Token to join the cluster with, or the path of a file holding it.',
    }),
    join_params: section(
      {
        method: text({ default: 'token', doc: 'How to join.' }),
        token_name: text({ default: none, doc: 'The token.' }),
      },
      { doc: 'Joining, said in full; instead of `auth_token`.' },
    ),
    ca_pin: list(text({ default: '', doc: 'sha256:…' }), {
      doc: 'Hashes of the CA keys to expect when joining.',
    }),
    advertise_ip: text({
      default: none,
      doc: 'Address clients reach this host by; it is added to the host certificate.',
    }),
    diag_addr: address({
      port: 3000,
      default: none,
      doc: 'Where to serve `/healthz`, `/readyz` and `/metrics`.',
    }),
    log,
    connection_limits: section(
      {
        max_connections: integer({
          min: 1,
          max: 1_000_000,
          default: 15_000,
          doc: 'Connections at one time.',
        }),
        max_users: integer({
          min: 1,
          max: 1_000_000,
          default: 250,
          doc: 'Users connected at one time.',
        }),
      },
      { doc: 'Bounds on what peers may take.' },
    ),
    storage,
  },
  { doc: 'What concerns the host, whatever services it runs.' },
);

const authentication = section(
  {
    type: oneOf(['local', 'oidc', 'saml', 'github'], {
      default: 'local',
      doc: 'Who says who a user is, where `tsh login` is told nothing else.',
      notYet: (type) => type === 'saml',
    }),
    connector_name: text({
      default: none,
      doc: 'The connector `tsh login` uses when it is told none; without it, the first of that type.',
    }),
    local_auth: bool({
      default: true,
      doc: 'Take names and passwords too. `false`: people come by an identity provider only.',
    }),
    passwordless: bool({
      default: true,
      doc: 'Take a passkey alone, which knows its owner by PIN or fingerprint. Needs `webauthn.rp_id`.',
    }),
    require_session_mfa: bool({
      default: false,
      doc: 'Ask for the second factor at each session, on every node, as the role option of that name does.',
    }),
    second_factor: oneOf(['off', 'otp', 'webauthn', 'on', 'optional'], {
      default: 'otp',
      doc: 'The second factor to ask for.',
    }),
    webauthn: section(
      {
        rp_id: text({ default: none, doc: 'The domain devices are registered for: the name of the proxy.' }),
      },
      { doc: 'Hardware keys.' },
    ),
  },
  { doc: 'How users of `tsh login` and of the web prove who they are.' },
);

const authService = section(
  {
    enabled: bool({ default: true, doc: 'Run the auth service here.' }),
    cluster_name: name({
      default: none,
      shown: 'the nodename',
      doc: 'Name of the cluster, in every audit event. It is part of host certificates: choose it once.',
    }),
    listen_addr: listen(3025, 'Where other hosts reach the auth service.'),
    tokens: list(text({ default: '', doc: '`roles:secret`' }), {
      doc: 'Static join tokens: `"proxy,node:secret"`.',
    }),
    session_recording: oneOf(['node', 'node-sync', 'proxy', 'proxy-sync', 'off'], {
      default: 'node',
      doc: 'Where sessions are recorded. `off` keeps no terminal recording; kernel events are kept all the same. For every node.',
      notYet: (mode) => mode !== 'node',
    }),
    authentication,
    client_idle_timeout: duration({
      default: none,
      doc: 'Disconnect clients that are silent for so long, on every node. Without it, never.',
    }),
    disconnect_expired_cert: bool({
      default: false,
      doc: 'End sessions, on every node, when the certificate they began with ends.',
    }),
  },
  { doc: "The cluster's certificate authorities, users and roles." },
);

const command = section(
  {
    name: text({ default: '', doc: 'Label name. It wins over a label of `labels`.' }),
    command: list(text({ default: '', doc: 'A word of it.' }), {
      doc: 'Program and arguments, run as root without a shell. The value is the first line it prints, at most 4 KiB.',
    }),
    period: duration({
      default: 60_000,
      doc: 'How often to run it, at least `1s`. It has so long to answer, and at most 10 seconds.',
    }),
  },
  { doc: 'A label whose value is what a command prints.' },
);

const enhancedRecording = section(
  {
    enabled: bool({
      default: false,
      doc: 'Record commands, files and connections as the kernel sees them. The service refuses to start when this host cannot; see `teleport doctor`.',
    }),
    command_buffer_size: bufferPages('CommandBufferSize', 8, 'command'),
    disk_buffer_size: bufferPages('DiskBufferSize', 128, 'file'),
    network_buffer_size: bufferPages('NetworkBufferSize', 8, 'network'),
    cgroup_path: path({
      default: '/cgroup2',
      doc: 'Where cgroup v2 is mounted; where it is not, it is mounted there.',
    }),
    root_path: path({
      default: '/teleport',
      doc: "The cgroup below it that holds this instance's sessions. Give each instance on a host its own.",
    }),
  },
  { doc: 'Session recording by the kernel.' },
);

const sshService = section(
  {
    enabled: bool({ default: true, doc: 'Let users log in to this host.' }),
    listen_addr: listen(3022, 'Where the SSH service listens.'),
    public_addr: list(text({ default: '', doc: 'host or host:port' }), {
      doc: 'Names clients reach this host by; they are added to the host certificate.',
    }),
    labels: textMap({ doc: 'Labels roles can select this host by.' }),
    commands: list(command, {
      doc: 'Labels made by running commands. While one fails, the value says why (`error: …`), and the label is unknown: no role allows by it, every role that denies by it denies.',
    }),
    pam: section(
      {
        enabled: bool({ default: false, doc: 'Open and close a PAM session around each session.' }),
        service_name: text({ default: 'sshd', doc: 'The file in /etc/pam.d to use.' }),
        use_pam_auth: bool({
          default: false,
          doc: 'Ask the modules of `auth`, too. Certificates have answered that; only account and session count.',
          notYet: (on) => on,
        }),
        environment: textMap({
          doc: "Variables for PAM modules, and by them for sessions: `TEAM: '{{external.team}}'` is the user's trait; where the user lacks it, the variable is left out. `TELEPORT_USERNAME`, `TELEPORT_LOGIN` and `TELEPORT_ROLES` are always set.",
        }),
      },
      { doc: 'Pluggable authentication modules.' },
    ),
    port_forwarding: bool({
      default: true,
      doc: 'Allow port forwarding, for roles that do.',
    }),
    x11: section(
      {
        enabled: bool({ default: false, doc: 'Allow X11 forwarding, for roles that do.' }),
        display_offset: integer({
          default: 10,
          doc: 'The number of the first display that is given out.',
          min: 0,
          max: 1000,
        }),
      },
      { doc: 'X11 forwarding.' },
    ),
    ssh_file_copy: bool({ default: true, doc: 'Allow scp and sftp, for roles that do.' }),
    permit_user_env: bool({
      default: false,
      doc: "Read the account's `~/.ssh/environment` and `~/.tsh/environment` into a session's environment.",
    }),
    disable_create_host_user: bool({
      default: false,
      doc: 'Make no accounts on this host, whatever roles say (`create_host_user_mode`).',
    }),
    enhanced_recording: enhancedRecording,
  },
  { doc: 'The SSH service of this host.' },
);

const keypair = section(
  {
    key_file: path({ default: none, doc: 'Private key, PEM.' }),
    cert_file: path({ default: none, doc: 'Certificate chain, PEM.' }),
  },
  { doc: 'A TLS key and its certificate.' },
);

const proxyService = section(
  {
    enabled: bool({ default: true, doc: 'Run the proxy service here.' }),
    web_listen_addr: listen(3080, 'HTTPS: log-in, API, and by ALPN everything else.'),
    listen_addr: listen(3023, 'SSH clients.'),
    tunnel_listen_addr: listen(3024, 'Reverse tunnels of nodes.'),
    public_addr: list(text({ default: '', doc: 'host:port' }), {
      doc: 'Names clients reach the proxy by.',
    }),
    https_keypairs: list(keypair, { doc: 'TLS keys and certificates.' }),
    acme: section(
      {
        enabled: bool({ default: false, doc: 'Take certificates from an ACME CA.' }),
        email: text({ default: none, doc: 'Contact for the CA.' }),
      },
      { doc: 'Certificates by ACME.', notYet: always },
    ),
    packages: section(
      {
        dir: path({
          default: none,
          shown: '`data_dir`/packages',
          doc: 'Packages this proxy serves below `/packages/`: a folder a version, as `make package` leaves them.',
        }),
        mirror: url({
          default: none,
          doc: 'Where the same folders are instead; `install.sh` then takes packages from there.',
        }),
        key_file: path({
          default: none,
          shown: 'the key of the installed package',
          doc: 'Public key (PEM, Ed25519) whose signature `install.sh` asks of packages.',
        }),
      },
      { doc: 'What `https://PROXY/scripts/install.sh` installs hosts from.' },
    ),
  },
  { doc: 'The door of the cluster: web, SSH gateway, reverse tunnels.' },
);

export const teleportYaml = section(
  {
    version: oneOf(['v1', 'v2', 'v3'], {
      default: 'v1',
      doc: 'The dialect of the file. `v1` and `v2` are alike; `v3` has `auth_server` and `proxy_server` for `auth_servers`.',
    }),
    teleport,
    auth_service: authService,
    ssh_service: sshService,
    proxy_service: proxyService,
  },
  { doc: 'The configuration file.' },
);
