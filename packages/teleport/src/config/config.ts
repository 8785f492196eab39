// teleport.yaml as the rest of the program sees it: every default filled in, units in the names, deeply frozen.
// Owns the types only; reading them from YAML is load-config.ts.

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface Config {
  /** The dialect the file was written in. v1 and v2 are alike. */
  readonly version: 'v1' | 'v2' | 'v3';
  readonly nodename: string;
  readonly dataDir: string;
  readonly pidFile: string | undefined;
  /** Where this host reaches its cluster; with an auth service of its own it may be empty. */
  readonly upstream: { readonly kind: 'auth' | 'proxy'; readonly addresses: readonly Address[] };
  readonly join: { readonly method: string; readonly token: string } | undefined;
  readonly caPins: readonly string[];
  readonly advertiseIp: string | undefined;
  readonly diagAddr: Address | undefined;
  readonly log: LogConfig;
  readonly connectionLimits: { readonly maxConnections: number; readonly maxUsers: number };
  readonly storage: StorageConfig;
  readonly auth: AuthServiceConfig;
  readonly ssh: SshServiceConfig;
  readonly proxy: ProxyServiceConfig;
}

export interface LogConfig {
  /** `stderr`, `stdout` or a file's path. */
  readonly output: string;
  readonly severity: 'debug' | 'info' | 'warn' | 'error';
  readonly format: 'text' | 'json';
}

export interface StorageConfig {
  readonly type: 'sqlite' | 'postgresql' | 'dir';
  readonly connString: string | undefined;
  /** undefined: nothing of the store is sealed. */
  readonly encryptionKeyFile: string | undefined;
  readonly auditEventsUris: readonly string[];
  readonly auditSessionsUri: string | undefined;
  readonly retentionPeriodMs: number | undefined;
}

export type SessionRecordingMode = 'node' | 'node-sync' | 'proxy' | 'proxy-sync' | 'off';

export interface AuthServiceConfig {
  readonly enabled: boolean;
  readonly clusterName: string;
  readonly listenAddr: Address;
  readonly tokens: readonly { readonly roles: readonly string[]; readonly secret: string }[];
  readonly sessionRecording: SessionRecordingMode;
  readonly authentication: {
    readonly type: 'local' | 'oidc' | 'saml' | 'github';
    readonly secondFactor: 'off' | 'otp' | 'webauthn' | 'on' | 'optional';
    readonly webauthnRpId: string | undefined;
    /** The identity provider `tsh login` uses when it is told none. */
    readonly connectorName: string | undefined;
    /** False: only by an identity provider. */
    readonly localAuth: boolean;
    /** A passkey alone is enough. */
    readonly passwordless: boolean;
    readonly requireSessionMfa: boolean;
  };
  /** `undefined`: sessions may idle for ever. */
  readonly clientIdleTimeoutMs: number | undefined;
  readonly disconnectExpiredCert: boolean;
}

export interface SshServiceConfig {
  readonly enabled: boolean;
  readonly listenAddr: Address;
  readonly publicAddrs: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly commands: readonly {
    readonly name: string;
    readonly command: readonly string[];
    readonly periodMs: number;
  }[];
  readonly pam: {
    readonly enabled: boolean;
    readonly serviceName: string;
    /** Variables for its modules; `{{external.TRAIT}}` stands for the user's. */
    readonly environment: Readonly<Record<string, string>>;
  };
  readonly portForwarding: boolean;
  readonly x11: { readonly enabled: boolean; readonly firstDisplay: number };
  readonly sshFileCopy: boolean;
  readonly permitUserEnvironment: boolean;
  /** For roles that say so. */
  readonly createHostUsers: boolean;
  readonly enhancedRecording: EnhancedRecordingConfig;
}

export interface EnhancedRecordingConfig {
  readonly enabled: boolean;
  /** In pages of 4 KiB, as documented; a floor: see ringBytes. */
  readonly commandBufferPages: number;
  readonly diskBufferPages: number;
  readonly networkBufferPages: number;
  /** Where cgroup v2 is, or is to be, mounted. */
  readonly cgroupPath: string;
  /** The slice under it that holds this instance's sessions: `<cgroupPath><rootPath>/<sid>`. */
  readonly rootPath: string;
  /**
   * The ring really asked of the kernel, in bytes: a power of two, never below 16 MiB nor below the three numbers
   * together. The documented defaults hold about ten commands in flight and would lose events.
   */
  readonly ringBytes: number;
}

export interface ProxyServiceConfig {
  readonly enabled: boolean;
  readonly webListenAddr: Address;
  readonly listenAddr: Address;
  readonly tunnelListenAddr: Address;
  readonly publicAddrs: readonly string[];
  readonly httpsKeypairs: readonly { readonly keyFile: string; readonly certFile: string }[];
  readonly acme: { readonly enabled: boolean; readonly email: string | undefined };
  readonly packages: PackagesConfig;
}

/** What /scripts/install.sh installs hosts from. */
export interface PackagesConfig {
  /** A folder a version, as `make package` leaves them. */
  readonly dir: string;
  /** URL of the same elsewhere; `undefined`: this proxy serves `dir`. */
  readonly mirror: string | undefined;
  /** PEM file of the release key; `undefined`: that of the package this program was installed from. */
  readonly keyFile: string | undefined;
}

/** Something accepted that the operator should know about. Never silent: the daemon logs each at start. */
export interface ConfigWarning {
  readonly code: 'both_upstreams' | 'not_in_effect' | 'events_apart';
  /** Dotted path of the key. */
  readonly key: string;
  readonly message: string;
  /** 1-based; absent for a warning about a whole file. */
  readonly line?: number;
  readonly column?: number;
}

export interface LoadedConfig {
  readonly config: Config;
  readonly warnings: readonly ConfigWarning[];
}
