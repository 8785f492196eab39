// What flags of `teleport start` change in a loaded configuration.
import type { Config } from './config.ts';

export type ServiceRole = 'auth' | 'node' | 'proxy';
export const serviceRoles: readonly ServiceRole[] = ['auth', 'node', 'proxy'];

export interface ConfigOverrides {
  /** Exactly these services run, whatever the file enables. */
  readonly roles?: readonly ServiceRole[] | undefined;
  readonly nodename?: string | undefined;
  readonly pidFile?: string | undefined;
}

/** A new configuration, frozen like the old one. */
export function overrideConfig(config: Config, { roles, nodename, pidFile }: ConfigOverrides): Config {
  const enabled = (role: ServiceRole, file: boolean) => (roles === undefined ? file : roles.includes(role));
  // A cluster without a name of its own is named after the node; a new node name must not leave the old one there.
  const unnamed = config.auth.clusterName === config.nodename;
  return Object.freeze({
    ...config,
    nodename: nodename ?? config.nodename,
    pidFile: pidFile ?? config.pidFile,
    auth: Object.freeze({
      ...config.auth,
      enabled: enabled('auth', config.auth.enabled),
      clusterName: unnamed && nodename !== undefined ? nodename : config.auth.clusterName,
    }),
    ssh: Object.freeze({ ...config.ssh, enabled: enabled('node', config.ssh.enabled) }),
    proxy: Object.freeze({ ...config.proxy, enabled: enabled('proxy', config.proxy.enabled) }),
  });
}
