// What `tsh login` leaves behind and every other command reads: ~/.tsh (or TELEPORT_HOME), laid out as documented.
//
//   current-profile                        name of the proxy in use
//   <proxy>.yaml                           where it is, who we are there
//   known_hosts                            @cert-authority lines, one cluster each
//   keys/<proxy>/<user>{,.pub}             SSH key
//   keys/<proxy>/<user>-ssh/<cluster>-cert.pub
//   keys/<proxy>/<user>-x509.{key,pem}     TLS key and certificate
//   keys/<proxy>/certs.pem                 TLS host CAs of the cluster
import { readFile, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import { isErrno, makePrivateDirectory, readPrivateFile, replacePrivateFile } from '../../ca/private-file.ts';
import { parsePublicKeyLine, publicKeyLine } from '../../ca/public-key.ts';
import { parseProfile, profileText } from './profile-text.ts';

export interface Profile {
  readonly web_proxy_addr: string;
  readonly ssh_proxy_addr: string;
  readonly user: string;
  readonly cluster: string;
  readonly roles: readonly string[];
  readonly logins: readonly string[];
  /** ISO 8601 */
  readonly valid_until: string;
  readonly tls_routing_enabled: boolean;
  readonly insecure: boolean;
  /** OpenSSH public key lines. */
  readonly host_cas: readonly string[];
}

export interface Keys {
  /** OpenSSH private key text. */
  readonly sshKey: string;
  /** SSH certificate blob. */
  readonly sshCertificate: Buffer;
  readonly tlsKey: string;
  readonly tlsCertificate: string;
  /** PEM, one after the other. */
  readonly tlsHostCas: string;
}

/** The folder; commands never take it from anywhere else. */
export function home(): string {
  return process.env['TELEPORT_HOME'] ?? join(homedir(), '.tsh');
}

/** Files are named for the host alone: a proxy on two ports is still one proxy. */
export function profileName(webProxyAddr: string): string {
  return webProxyAddr.replace(/:\d+$/, '').replace(/[^A-Za-z0-9._-]/g, '_');
}

export function pathsOf(profile: Pick<Profile, 'web_proxy_addr' | 'user' | 'cluster'>) {
  const name = profileName(profile.web_proxy_addr);
  const keys = join(home(), 'keys', name);
  return {
    profile: join(home(), `${name}.yaml`),
    keys,
    sshKey: join(keys, profile.user),
    sshPublicKey: join(keys, `${profile.user}.pub`),
    sshCertificates: join(keys, `${profile.user}-ssh`),
    sshCertificate: join(keys, `${profile.user}-ssh`, `${profile.cluster}-cert.pub`),
    tlsKey: join(keys, `${profile.user}-x509.key`),
    tlsCertificate: join(keys, `${profile.user}-x509.pem`),
    tlsHostCas: join(keys, 'certs.pem'),
    knownHosts: join(home(), 'known_hosts'),
  };
}

export async function saveProfile(profile: Profile, keys: Keys, publicKey: Buffer): Promise<void> {
  const paths = pathsOf(profile);
  await makePrivateDirectory(paths.sshCertificates);
  await replacePrivateFile(paths.tlsHostCas, keys.tlsHostCas);
  await replacePrivateFile(paths.tlsKey, keys.tlsKey);
  await replacePrivateFile(paths.tlsCertificate, keys.tlsCertificate);
  await replacePrivateFile(paths.sshPublicKey, `${publicKeyLine(publicKey, profile.user)}\n`);
  await replacePrivateFile(paths.sshKey, keys.sshKey);
  await replacePrivateFile(paths.sshCertificate, `${publicKeyLine(keys.sshCertificate, profile.user)}\n`);
  await trustHosts(profile, paths.knownHosts);
  await replacePrivateFile(paths.profile, profileText(profile));
  await replacePrivateFile(join(home(), 'current-profile'), `${profileName(profile.web_proxy_addr)}\n`);
}

/** The lines of this cluster are replaced, those of other clusters stay. */
async function trustHosts({ cluster, host_cas }: Profile, path: string): Promise<void> {
  const mark = `sallyport cluster ${cluster}`;
  const others = ((await readPrivateFile(path)) ?? '')
    .split('\n')
    .filter((line) => line !== '' && !line.endsWith(` ${mark}`));
  const ours = host_cas.map((line) => {
    const [type, key] = line.split(' ');
    return `@cert-authority * ${type} ${key} ${mark}`;
  });
  await replacePrivateFile(path, `${[...others, ...ours].join('\n')}\n`);
}

/** The profile of `proxy`, by default TELEPORT_PROXY or the current one; undefined when there is none. */
export async function readProfile(
  proxy: string | undefined = process.env['TELEPORT_PROXY'],
): Promise<Profile | undefined> {
  const name =
    proxy === undefined
      ? (await readPrivateFile(join(home(), 'current-profile')))?.trim()
      : profileName(proxy);
  if (name === undefined || name === '') return undefined;
  const path = join(home(), `${name}.yaml`);
  const text = await readPrivateFile(path);
  if (text === undefined) return undefined;
  const profile = await parseProfile(text);
  if (profile !== undefined) return profile;
  throw new AppError('bad_input', 'tsh.bad_profile', `${path} is not a profile tsh can read.`, {
    hint: 'Log in again: `tsh login --proxy=HOST --user=NAME`.',
  });
}

/** A profile whose certificates still hold. */
export async function requireProfile(proxy?: string): Promise<Profile> {
  const profile = await readProfile(proxy);
  if (profile === undefined) {
    throw new AppError('denied', 'tsh.not_logged_in', 'You are not logged in.', {
      hint: 'Log in with `tsh login --proxy=HOST --user=NAME`.',
    });
  }
  if (new Date(profile.valid_until) > new Date()) return profile;
  throw new AppError('denied', 'tsh.expired', `Your certificate expired at ${profile.valid_until}.`, {
    hint: `Log in again: \`tsh login --proxy=${profile.web_proxy_addr} --user=${profile.user}\`.`,
  });
}

export async function readKeys(profile: Profile): Promise<Keys> {
  const paths = pathsOf(profile);
  const read = async (path: string) => {
    const text = await readPrivateFile(path);
    if (text !== undefined) return text;
    throw new AppError('not_found', 'tsh.key_missing', `${path} is missing.`, {
      hint: 'Log in again with `tsh login`.',
    });
  };
  const [sshKey, certificate, tlsKey, tlsCertificate, tlsHostCas] = await Promise.all(
    [paths.sshKey, paths.sshCertificate, paths.tlsKey, paths.tlsCertificate, paths.tlsHostCas].map(read),
  );
  return {
    sshKey: sshKey ?? '',
    sshCertificate: parsePublicKeyLine(certificate ?? ''),
    tlsKey: tlsKey ?? '',
    tlsCertificate: tlsCertificate ?? '',
    tlsHostCas: tlsHostCas ?? '',
  };
}

/** Keys, certificates and the profile; the cluster's line in known_hosts stays, as ssh's own would. */
export async function removeProfile(profile: Profile): Promise<void> {
  const paths = pathsOf(profile);
  const mine = [paths.sshKey, paths.sshPublicKey, paths.sshCertificates, paths.tlsKey, paths.tlsCertificate];
  for (const path of [...mine, paths.profile]) await rm(path, { force: true, recursive: true });
  const current = join(home(), 'current-profile');
  const name = await readFile(current, 'utf8').catch((error: unknown) => {
    if (isErrno(error, 'ENOENT')) return '';
    throw error;
  });
  if (name.trim() === profileName(profile.web_proxy_addr)) await rm(current, { force: true });
}
