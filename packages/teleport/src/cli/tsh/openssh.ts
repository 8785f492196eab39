// For OpenSSH's own client: `tsh config` prints what goes into ~/.ssh/config, `tsh proxy ssh` is the ProxyCommand there.
import { realpathSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { AppError } from '@sallyport/contracts/errors.ts';
import { print } from '../output.ts';
import { gatewayChannel, nodeAddress } from './connect-node.ts';
import { type Profile, pathsOf, readKeys, requireProfile } from './profile.ts';
import { parseProxyAddress } from './proxy-link.ts';

export async function configAction(flags: { readonly proxy?: string; readonly port: number }): Promise<void> {
  print(opensshConfig(await requireProfile(flags.proxy), flags.port));
}

export function opensshConfig(profile: Profile, port: number): string {
  const paths = pathsOf(profile);
  const proxyHost = parseProxyAddress(profile.web_proxy_addr).host;
  const tsh = quoted(thisProgram());
  // ssh takes the address it was given as the name the certificate must carry: `node.cluster` is one of those.
  // AES-GCM before OpenSSH's own first choice, ChaCha20: that costs a node a third more CPU. `^` is of OpenSSH 8.1.
  return `# Begin generated Sallyport configuration for ${profile.web_proxy_addr} by \`tsh config\`
Host *.${profile.cluster} ${proxyHost}
    UserKnownHostsFile ${quoted(paths.knownHosts)}
    IdentityFile ${quoted(paths.sshKey)}
    CertificateFile ${quoted(paths.sshCertificate)}
    IdentitiesOnly yes
    HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com,ecdsa-sha2-nistp256-cert-v01@openssh.com,rsa-sha2-512-cert-v01@openssh.com
    Ciphers ^aes128-gcm@openssh.com,aes256-gcm@openssh.com

Host *.${profile.cluster} !${proxyHost}
    Port ${port}
    ProxyCommand ${tsh} proxy ssh --proxy=${profile.web_proxy_addr} %r@%h:%p
# End generated Sallyport configuration`;
}

/** stdin and stdout become the node's SSH port; ssh does the rest, end to end. */
export async function proxySshAction(target: string, flags: { readonly proxy?: string }): Promise<void> {
  const profile = await requireProfile(flags.proxy);
  const node = nodeAddress(withoutCluster(target.slice(target.lastIndexOf('@') + 1), profile.cluster));
  const channel = await gatewayChannel(profile, await readKeys(profile), node);
  const out = pipeline(channel, process.stdout, { end: false });
  const into = pipeline(process.stdin, channel).catch(() => {});
  try {
    await out;
  } catch (cause) {
    throw new AppError('unavailable', 'tsh.link_lost', 'The connection through the proxy broke.', { cause });
  } finally {
    process.stdin.destroy();
    channel.destroy();
    await into;
  }
}

/** `web-1.example.com:3022` → `web-1:3022` in the cluster example.com: the proxy knows nodes by their own names. */
export function withoutCluster(target: string, cluster: string): string {
  const [host = '', ...port] = target.split(':');
  const bare = host.endsWith(`.${cluster}`) ? host.slice(0, -cluster.length - 1) : host;
  return [bare, ...port].join(':');
}

/** The launcher script beside our sources, not node: ssh runs it in a shell of its own. */
function thisProgram(): string {
  return realpathSync(new URL('../../../bin/tsh', import.meta.url));
}

function quoted(path: string): string {
  return /\s/.test(path) ? `"${path}"` : path;
}
