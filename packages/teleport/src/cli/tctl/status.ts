// `tctl status`
import { createHash } from 'node:crypto';
import { fingerprint } from '../../ca/known-hosts.ts';
import type { Signer } from '../../ca/signer.ts';
import { print, printJson, table } from '../output.ts';
import { productVersion } from '../version.ts';
import { oneFormatOf } from './format.ts';
import { withLocalCluster } from './local-cluster.ts';

export async function statusAction(configPath: string | undefined, flags: { format: string }): Promise<void> {
  const format = oneFormatOf(flags.format, ['text', 'json']);
  await withLocalCluster(configPath, async ({ config, cas }) => {
    const { clusterName } = config.auth;
    const rows = [authority('host', cas.host), authority('user', cas.user)];
    const pin = caPin(cas.host);
    if (format === 'json')
      return printJson({ cluster: clusterName, version: productVersion(), authorities: rows, ca_pin: pin });
    print(`Cluster: ${clusterName}\nVersion: ${productVersion()}\n`);
    print(
      table(
        ['CA', 'Key type', 'Fingerprint'],
        rows.map(({ ca, key_type, fingerprint: print256 }) => [ca, key_type, print256]),
      ),
    );
    print(`\nCA pin:  ${pin}`);
  });
}

function authority(ca: string, signer: Signer) {
  return { ca, key_type: signer.keyType, fingerprint: fingerprint(signer.publicKey) };
}

/** What a joining host compares the cluster's host CA with. */
function caPin(host: Signer): string {
  return `sha256:${createHash('sha256').update(host.publicKey).digest('hex')}`;
}
