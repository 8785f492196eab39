// What flags of `teleport start` change in a loaded configuration.
import type { Address, Config } from './config.ts';

export type ServiceRole = 'auth' | 'node' | 'proxy';
export const serviceRoles: readonly ServiceRole[] = ['auth', 'node', 'proxy'];

export interface ConfigOverrides {
  /** Exactly these services run, whatever the file enables. */
  readonly roles?: readonly ServiceRole[] | undefined;
  readonly nodename?: string | undefined;
  readonly pidFile?: string | undefined;
  /** To join with: a token, and the auth service it is for. */
  readonly token?: string | undefined;
  readonly authServer?: Address | undefined;
  readonly caPins?: readonly string[] | undefined;
}

/** A new configuration, frozen like the old one. */
export function overrideConfig(config: Config, overrides: ConfigOverrides): Config {
  const { roles, nodename, pidFile, token, authServer, caPins } = overrides;
  const enabled = (role: ServiceRole, file: boolean) => (roles === undefined ? file : roles.includes(role));
  // A cluster without a name of its own is named after the node; a new node name must not leave the old one there.
  const unnamed = config.auth.clusterName === config.nodename;
  return Object.freeze({
    ...config,
    nodename: nodename ?? config.nodename,
    pidFile: pidFile ?? config.pidFile,
    join: token === undefined ? config.join : Object.freeze({ method: 'token', token }),
    upstream:
      authServer === undefined
        ? config.upstream
        : Object.freeze({ kind: 'auth', addresses: Object.freeze([authServer]) }),
    caPins: caPins ?? config.caPins,
    auth: Object.freeze({
      ...config.auth,
      enabled: enabled('auth', config.auth.enabled),
      clusterName: unnamed && nodename !== undefined ? nodename : config.auth.clusterName,
    }),
    ssh: Object.freeze({ ...config.ssh, enabled: enabled('node', config.ssh.enabled) }),
    proxy: Object.freeze({ ...config.proxy, enabled: enabled('proxy', config.proxy.enabled) }),
  });
}
