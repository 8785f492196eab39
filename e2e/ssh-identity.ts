// Keys and certificates of a person as files for OpenSSH's client, which takes nothing else then.
import type { KeyObject } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Trust } from '@sallyport/contracts/api/auth-routes.ts';
import { writePrivateKey } from '../packages/teleport/src/ca/openssh-private-key.ts';
import { publicKeyLine } from '../packages/teleport/src/ca/public-key.ts';

interface Issued {
  /** SSH wire blob, base64. */
  readonly ssh_certificate: string;
  readonly trust: Pick<Trust, 'ssh_host_cas'>;
}

/** Resolves to the path of a configuration for `ssh -F`. */
export async function writeSshIdentity(
  folder: string,
  name: string,
  key: KeyObject,
  { ssh_certificate, trust }: Issued,
): Promise<string> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(join(folder, 'key'), writePrivateKey(key, name), { mode: 0o600 });
  const certificate = publicKeyLine(Buffer.from(ssh_certificate, 'base64'), name);
  await writeFile(join(folder, 'key-cert.pub'), `${certificate}\n`);
  const hosts = trust.ssh_host_cas.map((line) => `@cert-authority * ${line}\n`);
  await writeFile(join(folder, 'known_hosts'), hosts.join(''));
  const options = {
    IdentityFile: join(folder, 'key'),
    CertificateFile: join(folder, 'key-cert.pub'),
    UserKnownHostsFile: join(folder, 'known_hosts'),
    GlobalKnownHostsFile: 'none',
    IdentitiesOnly: 'yes',
    IdentityAgent: 'none',
    StrictHostKeyChecking: 'yes',
    BatchMode: 'yes',
    LogLevel: 'ERROR',
  };
  const lines = Object.entries(options).map(([option, value]) => `  ${option} ${value}\n`);
  await writeFile(join(folder, 'config'), `Host *\n${lines.join('')}`);
  return join(folder, 'config');
}
