// An auth server among those of its cluster: how others find it, and whether it is configured as they are.
import type { AuthServerDocument } from '@sallyport/contracts/api/resources.ts';
import { formatAddress } from '../../config/address.ts';
import type { Address, Config } from '../../config/config.ts';
import type { ClusterCache } from '../../membership/cluster-cache.ts';
import type { NodeLog } from '../../ssh/node-log.ts';

export interface AuthServerFacts {
  readonly config: Config;
  readonly hostUuid: string;
  readonly version: string;
  /** Where the API listens. */
  readonly address: Address;
  readonly settingsDigest: string;
}

export function authServerDocument(facts: AuthServerFacts): AuthServerDocument {
  const { config, hostUuid, version, address, settingsDigest } = facts;
  const any = address.host === '0.0.0.0' || address.host === '::';
  const host = config.advertiseIp ?? (any ? config.nodename : address.host);
  return {
    kind: 'auth_server',
    version: 'v2',
    metadata: { name: hostUuid },
    spec: {
      hostname: config.nodename,
      addr: formatAddress({ host, port: address.port }),
      version,
      takes_relay_line: true,
      settings_digest: settingsDigest,
    },
  };
}

/** `teleport configure` cannot know; who sees another server can. */
export function warnOfLogsApart(
  cluster: Pick<ClusterCache, 'authServers' | 'onChange'>,
  { hostUuid }: Pick<AuthServerFacts, 'hostUuid'>,
  log: NodeLog,
): () => void {
  const told = new Set<string>();
  const look = () => {
    for (const { metadata, spec } of cluster.authServers) {
      if (metadata.name === hostUuid || told.has(metadata.name)) continue;
      told.add(metadata.name);
      log.warn(
        { auth_server: spec.hostname, addr: spec.addr },
        'another auth server shares the store, and each keeps events in files of its own: some may be in both, and a ' +
          'search sees one server; put a postgresql:// place first in teleport.storage.audit_events_uri',
      );
    }
  };
  look();
  return cluster.onChange(look);
}

/** Each server speaks for the cluster by its own file: where they differ, hosts hear now this and now that. */
export function warnOfOtherSettings(
  cluster: Pick<ClusterCache, 'authServers' | 'onChange'>,
  { hostUuid, settingsDigest }: Pick<AuthServerFacts, 'hostUuid' | 'settingsDigest'>,
  log: NodeLog,
): () => void {
  const told = new Set<string>();
  const look = () => {
    for (const { metadata, spec } of cluster.authServers) {
      const differs = spec.settings_digest !== undefined && spec.settings_digest !== settingsDigest;
      const said = `${metadata.name} ${spec.settings_digest}`;
      if (metadata.name === hostUuid || !differs || told.has(said)) continue;
      told.add(said);
      log.warn(
        { auth_server: spec.hostname, addr: spec.addr },
        'auth_service is configured in another way on another auth server of the cluster: make the two alike',
      );
    }
  };
  look();
  return cluster.onChange(look);
}
