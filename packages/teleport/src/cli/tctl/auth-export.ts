// `tctl auth export` and `tctl auth rotate`: the certificate authorities of the cluster.
import type { Trust } from '@sallyport/contracts/api/auth-routes.ts';
import {
  certAuthorityLine,
  fingerprint,
  trustedUserCaLine,
  userCaAuthorizedKeysLine,
} from '../../ca/known-hosts.ts';
import { parsePublicKeyLine } from '../../ca/public-key.ts';
import { print, printJson } from '../output.ts';
import { withCluster } from './cluster.ts';
import { oneFormatOf } from './format.ts';

const exportTypes = ['host', 'user', 'openssh', 'tls-host', 'tls-user'] as const;
type ExportType = (typeof exportTypes)[number];

export async function exportAction(
  configPath: string | undefined,
  flags: { type?: string; fingerprint: boolean },
): Promise<void> {
  const types: readonly ExportType[] =
    flags.type === undefined ? ['host', 'user'] : [oneFormatOf(flags.type, exportTypes)];
  await withCluster(configPath, async ({ client }) => {
    const trust = await client.trust();
    // In a rotation several are trusted: whoever imports them must know all.
    for (const type of types) for (const line of linesOf(type, trust, flags.fingerprint)) print(line);
  });
}

function linesOf(type: ExportType, trust: Trust, fingerprints: boolean): string[] {
  if (type === 'tls-host' || type === 'tls-user') {
    return (type === 'tls-host' ? trust.tls_host_cas : trust.tls_user_cas).map((pem) => pem.trimEnd());
  }
  const keys = (type === 'host' ? trust.ssh_host_cas : trust.ssh_user_cas).map(parsePublicKeyLine);
  if (fingerprints) return keys.map(fingerprint);
  const line = {
    host: certAuthorityLine,
    user: userCaAuthorizedKeysLine,
    openssh: trustedUserCaLine,
  }[type];
  return keys.map((key) => line(key, trust.cluster_name));
}

const phases = ['init', 'update_clients', 'update_servers', 'standby', 'rollback'] as const;

const nextStep: Readonly<Record<string, string>> = {
  init: 'New keys exist and are trusted beside the old ones. When every host and client knows them: --phase=update_clients',
  update_clients:
    'Certificates of clients are made with the new keys. When every client has one: --phase=update_servers',
  update_servers:
    'Certificates of hosts are made with the new keys. When every host has one: --phase=standby',
  standby: 'The old keys are gone; the rotation is complete.',
  rollback: 'The old keys sign again. When every host and client follows: --phase=standby',
};

export async function rotateAction(
  configPath: string | undefined,
  flags: { type: string; phase: string; format: string },
): Promise<void> {
  const type = oneFormatOf(flags.type, ['host', 'user', 'all'], '--type');
  const phase = oneFormatOf(flags.phase, phases, '--phase');
  const format = oneFormatOf(flags.format, ['text', 'json']);
  await withCluster(configPath, async ({ client }) => {
    const result = await client.rotate({ body: { type, phase } });
    if (format === 'json') return printJson(result.phases);
    for (const [ca, now] of Object.entries(result.phases)) print(`${ca.padEnd(5)} ${now}`);
    print(`\n${nextStep[phase]}`);
  });
}
