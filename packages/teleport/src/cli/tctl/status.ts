// `tctl status`
import { fingerprint } from '../../ca/known-hosts.ts';
import { parsePublicKeyLine } from '../../ca/public-key.ts';
import { print, printJson, table } from '../output.ts';
import { oneFormatOf } from './format.ts';
import { readAuthorities, readServers, readStatus } from './status-answers.ts';
import { withWayToAuth } from './way-to-auth.ts';

export async function statusAction(configPath: string | undefined, flags: { format: string }): Promise<void> {
  const format = oneFormatOf(flags.format, ['text', 'json']);
  await withWayToAuth(configPath, async (way) => {
    const [status, found, servers] = await Promise.all([
      readStatus(way),
      readAuthorities(way),
      readServers(way),
    ]);
    const authorities = found.flatMap(({ type, ssh, rotation }) =>
      ssh.map((line, i) => ({
        ca: type,
        key_type: line.split(' ')[0] ?? '',
        fingerprint: fingerprint(parsePublicKeyLine(line)),
        state: i === 0 ? 'active' : 'trusted',
        rotation: rotation.phase,
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
