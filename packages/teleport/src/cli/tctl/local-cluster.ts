// tctl in local mode: the auth service's own files, opened by a second process beside the daemon.
import { hostname, userInfo } from 'node:os';
import { join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import { FileLog } from '../../audit/file-log.ts';
import { EventStamp } from '../../audit/session-emitter.ts';
import { type Actor, Auth } from '../../auth/auth.ts';
import { FileStore } from '../../auth/file-store.ts';
import { type CertificateAuthorities, openCaStore } from '../../ca/ca-store.ts';
import { openHostUuid } from '../../ca/host-identity.ts';
import type { Config } from '../../config/config.ts';
import { loadConfigFile } from '../../config/load-config.ts';

export interface LocalCluster {
  readonly config: Config;
  readonly cas: CertificateAuthorities;
  readonly auth: Auth;
}

/** Opens the cluster, does the work, and lets go of the audit log whatever happened. */
export async function withLocalCluster<T>(
  configPath: string | undefined,
  work: (cluster: LocalCluster) => Promise<T>,
): Promise<T> {
  const { config } = await loadConfigFile(configPath);
  refuseWithoutAuth(config, configPath);
  const cas = await openCaStore(config.dataDir, { create: false });
  const log = await FileLog.open({
    logDir: join(config.dataDir, 'log'),
    hostId: await openHostUuid(config.dataDir),
    // The daemon beside us owns the log: it repairs and rotates, we only add lines.
    secondary: true,
  });
  try {
    const stamp = new EventStamp({ clusterName: config.auth.clusterName });
    const audit = { append: log.append.bind(log), stamp: stamp.stamp.bind(stamp) };
    const auth = new Auth({
      store: await FileStore.open(config.dataDir),
      ca: cas.user,
      audit,
      actor: localActor(),
    });
    return await work({ config, cas, auth });
  } finally {
    await log.close();
  }
}

function refuseWithoutAuth(config: Config, configPath: string | undefined): void {
  if (config.auth.enabled) return;
  throw new AppError(
    'unsupported',
    'cli.not_auth_host',
    `The auth service is off in ${configPath ?? 'the configuration'}.`,
    {
      hint: 'Run tctl on the auth host, with -c and the configuration of the daemon there.',
    },
  );
}

/** The person behind sudo where there is one: "root" alone would blame nobody. */
function localActor(): Actor {
  const person = process.env['SUDO_USER'] ?? userInfo().username;
  return { user: `${person}@${hostname() || 'localhost'}`, kind: 3 };
}
