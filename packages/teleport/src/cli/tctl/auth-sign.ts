// `tctl auth sign`: everything OpenSSH's client needs, as files.
import { access, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import { certAuthorityLine } from '../../ca/known-hosts.ts';
import { generateEd25519, writePrivateKey } from '../../ca/openssh-private-key.ts';
import { replacePrivateFile } from '../../ca/private-file.ts';
import { publicKeyBlob, publicKeyLine } from '../../ca/public-key.ts';
import type { Config } from '../../config/config.ts';
import { parseDuration } from '../../config/duration.ts';
import { print } from '../output.ts';
import { oneFormatOf } from './format.ts';
import { withLocalCluster } from './local-cluster.ts';

export interface SignFlags {
  readonly user: string;
  readonly out: string;
  readonly ttl?: string;
  readonly format: string;
  readonly overwrite: boolean;
}

export async function signAction(configPath: string | undefined, flags: SignFlags): Promise<void> {
  oneFormatOf(flags.format, ['openssh']);
  const ttlMs = ttlOf(flags.ttl);
  const paths = {
    key: flags.out,
    certificate: `${flags.out}-cert.pub`,
    knownHosts: `${flags.out}-known_hosts`,
  };
  await refuseUnlessWritable(paths, flags.overwrite);
  await withLocalCluster(configPath, async ({ config, cas, auth }) => {
    const key = generateEd25519();
    const issued = await auth.issueUserCertificate({
      user: flags.user,
      publicKey: publicKeyBlob(key),
      ttlMs,
    });
    // The key last: `ssh -i` finds the certificate beside it, so there is no moment with a key alone.
    await writeFile(paths.knownHosts, `${certAuthorityLine(cas.host.publicKey, config.auth.clusterName)}\n`);
    await writeFile(paths.certificate, `${publicKeyLine(issued.blob, flags.user)}\n`);
    await replacePrivateFile(paths.key, writePrivateKey(key, flags.user));
    print(
      `The certificate of "${flags.user}" is valid until ${issued.validBefore.toISOString()} for the logins ${issued.logins.join(', ')}.`,
    );
    if (issued.capped)
      print(`It lives shorter than the ${flags.ttl} asked for: the roles of "${flags.user}" allow no more.`);
    print(
      `\n  ${paths.key}  private key: keep it to yourself\n  ${paths.certificate}  certificate\n  ${paths.knownHosts}  line for known_hosts: trusts every host of this cluster`,
    );
    print(`\nLog in with:\n  ${sshCommand(paths, issued.logins[0] ?? 'root', config)}`);
  });
}

function ttlOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = parseDuration(text);
  if (ms !== undefined) return ms;
  throw new AppError(
    'bad_input',
    'cli.bad_ttl',
    `--ttl must be a duration such as 30m or 12h, not "${text}".`,
  );
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
function sshCommand(paths: { key: string; knownHosts: string }, login: string, config: Config): string {
  const { host, port } = config.ssh.listenAddr;
  const target = host === '0.0.0.0' || host === '::' ? config.nodename : host;
  return `ssh -i ${quoted(paths.key)} -o IdentitiesOnly=yes -o UserKnownHostsFile=${quoted(paths.knownHosts)} -p ${port} ${login}@${target}`;
}

function quoted(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
