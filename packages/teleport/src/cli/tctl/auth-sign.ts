// `tctl auth sign`: everything OpenSSH's client needs, as files.
import { access, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import { certAuthorityLine } from '../../ca/known-hosts.ts';
import { generateEd25519, writePrivateKey } from '../../ca/openssh-private-key.ts';
import { replacePrivateFile } from '../../ca/private-file.ts';
import { parsePublicKeyLine, publicKeyBlob, publicKeyLine } from '../../ca/public-key.ts';
import type { Config } from '../../config/config.ts';
import { print } from '../output.ts';
import { withCluster } from './cluster.ts';
import { oneFormatOf } from './format.ts';
import { ttlOf } from './users.ts';

export interface SignFlags {
  readonly user: string;
  readonly out: string;
  readonly ttl?: string;
  readonly format: string;
  readonly overwrite: boolean;
}

export async function signAction(configPath: string | undefined, flags: SignFlags): Promise<void> {
  oneFormatOf(flags.format, ['openssh']);
  const ttl_ms = ttlOf(flags.ttl);
  const paths = {
    key: flags.out,
    certificate: `${flags.out}-cert.pub`,
    knownHosts: `${flags.out}-known_hosts`,
  };
  await refuseUnlessWritable(paths, flags.overwrite);
  await withCluster(configPath, async ({ client, config }) => {
    const key = generateEd25519();
    const issued = await client.issueCertificates({
      params: { name: flags.user },
      body: { ssh_public_key: publicKeyBlob(key).toString('base64'), ttl_ms },
    });
    const { trust } = issued;
    const hosts = trust.ssh_host_cas.map((line) =>
      certAuthorityLine(parsePublicKeyLine(line), trust.cluster_name),
    );
    // The key last: `ssh -i` finds the certificate beside it, so there is no moment with a key alone.
    await writeFile(paths.knownHosts, `${hosts.join('\n')}\n`);
    await writeFile(
      paths.certificate,
      `${publicKeyLine(Buffer.from(issued.ssh_certificate, 'base64'), flags.user)}\n`,
    );
    await replacePrivateFile(paths.key, writePrivateKey(key, flags.user));
    print(
      `The certificate of "${flags.user}" is valid until ${issued.valid_before} for the logins ${issued.logins.join(', ')}.`,
    );
    if (issued.capped)
      print(`It lives shorter than the ${flags.ttl} asked for: the roles of "${flags.user}" allow no more.`);
    print(
      `\n  ${paths.key}  private key: keep it to yourself\n  ${paths.certificate}  certificate\n  ${paths.knownHosts}  line for known_hosts: trusts every host of this cluster`,
    );
    print(`\nLog in with:\n  ${sshCommand(paths, issued.logins[0] ?? 'root', config)}`);
  });
}

/** Before the certificate is made: an unused one would still stand in the audit log. */
async function refuseUnlessWritable(paths: Record<string, string>, overwrite: boolean): Promise<void> {
  for (const path of Object.values(paths)) {
    const there = await access(path).then(
      () => true,
      () => false,
    );
    if (there && !overwrite) {
      throw new AppError('conflict', 'cli.file_exists', `${path} exists already.`, {
        hint: 'Choose another --out, or say --overwrite.',
      });
    }
  }
  const folder = dirname(paths['key'] ?? '.');
  await access(folder).catch((cause: unknown) => {
    throw new AppError('not_found', 'cli.no_folder', `There is no folder ${folder}.`, { cause });
  });
}

/** Ready to paste: strict host checking needs the known_hosts line and nothing else. */
function sshCommand(
  paths: { key: string; knownHosts: string },
  login: string,
  config: Config | undefined,
): string {
  // Away from the auth host nobody here knows where nodes listen: the documented port.
  const { host, port } = config?.ssh.listenAddr ?? { host: '0.0.0.0', port: 3022 };
  const target = host === '0.0.0.0' || host === '::' ? (config?.nodename ?? 'NODE') : host;
  return `ssh -i ${quoted(paths.key)} -o IdentitiesOnly=yes -o UserKnownHostsFile=${quoted(paths.knownHosts)} -p ${port} ${login}@${target}`;
}

function quoted(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
