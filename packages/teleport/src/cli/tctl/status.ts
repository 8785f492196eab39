// `tctl status`
import { fingerprint } from '../../ca/known-hosts.ts';
import { parsePublicKeyLine } from '../../ca/public-key.ts';
import { print, printJson, table } from '../output.ts';
import { type AuthClient, withCluster } from './cluster.ts';
import { oneFormatOf } from './format.ts';

export async function statusAction(configPath: string | undefined, flags: { format: string }): Promise<void> {
  const format = oneFormatOf(flags.format, ['text', 'json']);
  await withCluster(configPath, async ({ client }) => {
    const [status, { resources }, servers] = await Promise.all([
      client.ping(),
      client.listResources({ params: { kind: 'cert_authority' } }),
      authServers(client),
    ]);
    const authorities = resources
      .filter((resource) => resource.kind === 'cert_authority')
      .flatMap(({ spec }) =>
        spec.ssh.map((line, i) => ({
          ca: spec.type,
          key_type: line.split(' ')[0] ?? '',
          fingerprint: fingerprint(parsePublicKeyLine(line)),
          state: i === 0 ? 'active' : 'trusted',
          rotation: spec.rotation.phase,
        })),
      );
    if (format === 'json') {
      return printJson({
        cluster: status.cluster_name,
        version: status.version,
        authorities,
        auth_servers: servers,
        ca_pin: status.ca_pins[0],
        ca_pins: status.ca_pins,
      });
    }
    print(`Cluster: ${status.cluster_name}\nVersion: ${status.version}\n`);
    print(
      table(
        ['CA', 'Key type', 'Fingerprint', 'State', 'Rotation'],
        authorities.map((row) => [row.ca, row.key_type, row.fingerprint, row.state, row.rotation]),
      ),
    );
    print('');
    if (servers.length > 0) {
      print(
        table(
          ['Auth server', 'Address', 'Version'],
          servers.map(({ hostname, addr, version }) => [hostname, addr, version]),
        ),
      );
      print('');
    }
    for (const pin of status.ca_pins) print(`CA pin:  ${pin}`);
  });
}

/** Those whose heartbeats arrive; none where the daemon does not run. */
async function authServers(client: AuthClient) {
  const { resources } = await client.listResources({ params: { kind: 'auth_server' } });
  return resources
    .flatMap((resource) => (resource.kind === 'auth_server' ? [resource] : []))
    .map(({ metadata, spec: { hostname, addr, version } }) => ({
      uuid: metadata.name,
      hostname,
      addr,
      version,
    }));
}
