// `tctl auth export`: what other programs need to trust this cluster.
import {
  certAuthorityLine,
  fingerprint,
  trustedUserCaLine,
  userCaAuthorizedKeysLine,
} from '../../ca/known-hosts.ts';
import { print } from '../output.ts';
import { oneFormatOf } from './format.ts';
import { type LocalCluster, withLocalCluster } from './local-cluster.ts';

type ExportType = 'host' | 'user' | 'openssh';

export async function exportAction(
  configPath: string | undefined,
  flags: { type?: string; fingerprint: boolean },
): Promise<void> {
  const types: readonly ExportType[] =
    flags.type === undefined ? ['host', 'user'] : [oneFormatOf(flags.type, ['host', 'user', 'openssh'])];
  await withLocalCluster(configPath, async (cluster) => {
    for (const type of types)
      print(flags.fingerprint ? fingerprint(keyOf(type, cluster)) : lineOf(type, cluster));
  });
}

function keyOf(type: ExportType, { cas }: LocalCluster): Buffer {
  return type === 'host' ? cas.host.publicKey : cas.user.publicKey;
}

function lineOf(type: ExportType, cluster: LocalCluster): string {
  const key = keyOf(type, cluster);
  const { clusterName } = cluster.config.auth;
  if (type === 'host') return certAuthorityLine(key, clusterName);
  return type === 'user' ? userCaAuthorizedKeysLine(key, clusterName) : trustedUserCaLine(key, clusterName);
}
