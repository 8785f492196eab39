// `tsh login`: password and second factor, here or in the browser, for short-lived certificates, kept in ~/.tsh and in
// the agent.
import { generateKeyPairSync } from 'node:crypto';
import { userInfo } from 'node:os';
import type { UserCertificates } from '@sallyport/contracts/api/auth-routes.ts';
import type { Ping } from '@sallyport/contracts/api/web-routes.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { generateEd25519, writePrivateKey } from '../../ca/openssh-private-key.ts';
import { publicKeyBlob } from '../../ca/public-key.ts';
import { formatAddress } from '../../config/address.ts';
import { parseDuration } from '../../config/duration.ts';
import { notice, visible } from '../output.ts';
import { addToAgent } from './agent.ts';
import { logInByBrowser } from './browser-login.ts';
import { trustByPin } from './pin.ts';
import { type Profile, readProfile, requireProfile, saveProfile } from './profile.ts';
import { ask } from './prompt.ts';
import { type ProxyAddress, parseProxyAddress, type Trust } from './proxy-link.ts';
import { printStatus } from './status.ts';
import { webClient } from './web-client.ts';

export interface LoginFlags {
  readonly proxy?: string;
  readonly user?: string;
  readonly ttl?: string;
  readonly caPin?: string;
  readonly insecure: boolean;
  /** local, browser or the name of an identity provider; default: as the cluster is set up. */
  readonly auth?: string;
  /** `none`: print the address only. */
  readonly browser?: string;
  readonly addKeysToAgent: string;
  readonly format: string;
}

export async function loginAction(flags: LoginFlags): Promise<void> {
  const known = await readProfile(flags.proxy);
  const proxy = flags.proxy ?? process.env['TELEPORT_PROXY'] ?? known?.web_proxy_addr;
  if (proxy === undefined) {
    throw new AppError(
      'bad_input',
      'tsh.no_proxy',
      'Which proxy? None was named, and there is no earlier log-in.',
      {
        hint: 'Say `tsh login --proxy=HOST --user=NAME`.',
      },
    );
  }
  const address = parseProxyAddress(proxy);
  const user = flags.user ?? process.env['TELEPORT_USER'] ?? known?.user ?? userInfo().username;
  const ttl_ms = ttlOf(flags.ttl);
  checkChoices(flags);
  const trust = await trustFor(address, flags);
  const web = webClient(address, trust);
  const ping = await web.ping();
  const sshKey = generateEd25519();
  const tls = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const keys = {
    ssh_public_key: publicKeyBlob(sshKey).toString('base64'),
    tls_public_key: tls.publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    ttl_ms,
  };
  const connector = connectorOf(ping, flags.auth);
  const browser = connector !== undefined || flags.auth === 'browser' || flags.auth === 'passwordless';
  const proof = browser ? undefined : await prove(ping, user, flags.auth);
  const asked = connector !== undefined ? { connector } : flags.auth === 'passwordless' ? {} : { user };
  const issued =
    proof === undefined
      ? await logInByBrowser(web, { ...asked, ...keys }, flags.browser !== 'none')
      : await web.logIn({ body: { proof, ...keys } });
  refuseOther(issued.user, connector === undefined ? undefined : flags.user);
  const profile = profileOf(address, ping, issued, flags.insecure);
  const keyText = writePrivateKey(sshKey, issued.user);
  const certificate = Buffer.from(issued.ssh_certificate, 'base64');
  await saveProfile(
    profile,
    {
      sshKey: keyText,
      sshCertificate: certificate,
      tlsKey: tls.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      tlsCertificate: issued.tls_certificate,
      tlsHostCas: issued.trust.tls_host_cas.join('\n'),
    },
    publicKeyBlob(sshKey),
  );
  if (flags.addKeysToAgent !== 'no') {
    const problem = await addToAgent(sshKey, certificate, profile);
    if (problem !== undefined && flags.addKeysToAgent === 'yes')
      notice(`The key is not in the agent: ${problem}`);
  }
  printStatus(await requireProfile(proxy), flags.format);
}

/** undefined: no identity provider. */
function connectorOf({ auth }: Ping, how: string | undefined): string | undefined {
  if (how === 'local' || how === 'browser') return undefined;
  if (how === 'passwordless' && auth.passwordless === true) return undefined;
  const { connectors = [] } = auth;
  if (how === undefined) return (auth.oidc ?? auth.github)?.name;
  if (connectors.some(({ name }) => name === how)) return how;
  const alone = auth.passwordless === true ? ['passwordless'] : [];
  const names = ['local', 'browser', ...alone, ...connectors.map(({ name }) => name)];
  throw new AppError('bad_input', 'tsh.no_connector', `--auth: this cluster has no "${visible(how)}".`, {
    hint: `It has ${names.map(visible).join(', ')}.`,
  });
}

/** Who was named and who came must be one: certificates of somebody else would go unnoticed. */
function refuseOther(user: string, wanted: string | undefined): void {
  if (wanted === undefined || wanted === user) return;
  throw new AppError(
    'denied',
    'tsh.other_user',
    `You logged in as ${visible(user)}, not as ${visible(wanted)}.`,
    { hint: 'Leave --user away, or log in at the identity provider as the other person.' },
  );
}

async function trustFor(address: ProxyAddress, flags: LoginFlags): Promise<Trust> {
  if (flags.insecure) {
    notice('WARNING: --insecure: the certificate of the proxy is not checked.');
    return { clusterCas: '', insecure: true };
  }
  if (flags.caPin !== undefined)
    return { clusterCas: await trustByPin(address, flags.caPin), insecure: false };
  return { clusterCas: await knownCas(formatAddress(address)), insecure: false };
}

/** Of an earlier log-in there: the cluster's own authority needs no pin a second time. */
async function knownCas(proxy: string): Promise<string> {
  const profile = await readProfile(proxy);
  if (profile === undefined) return '';
  const { readKeys } = await import('./profile.ts');
  return readKeys(profile).then(
    (keys) => keys.tlsHostCas,
    () => '',
  );
}

/** undefined: the browser has to, because security keys are reached from there only. */
async function prove({ auth }: Ping, user: string, how: string | undefined) {
  const keys = auth.webauthn !== undefined;
  if (how === undefined && keys && auth.second_factor === 'webauthn') return undefined;
  const password = await ask(`Enter password for Teleport user ${user}: `, { hidden: true });
  if (auth.second_factor === 'off') return { user, password };
  const either = keys && auth.second_factor === 'on' && how === undefined;
  const otp = await ask(`Enter your OTP token${either ? ' (nothing: security key, in the browser)' : ''}: `);
  if (otp !== '') return { user, password, otp: otp.replace(/\s/g, '') };
  return either ? undefined : { user, password };
}

/** Before anything is asked: a person must not type a password for nothing. */
function checkChoices({ browser, addKeysToAgent, format }: LoginFlags): void {
  const choices: readonly (readonly [string, string | undefined, readonly string[]])[] = [
    ['--browser', browser, ['none']],
    ['--add-keys-to-agent', addKeysToAgent, ['auto', 'yes', 'no']],
    ['--format', format, ['text', 'json']],
  ];
  for (const [flag, value, allowed] of choices) {
    if (value === undefined || allowed.includes(value)) continue;
    throw new AppError(
      'bad_input',
      'cli.bad_choice',
      `${flag} must be ${allowed.join(', ')}, not "${value}".`,
    );
  }
}

function ttlOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  // The documented client takes minutes without a unit.
  const ms = /^\d+$/.test(text) ? Number(text) * 60_000 : parseDuration(text);
  if (ms !== undefined && ms >= 60_000) return ms;
  throw new AppError(
    'bad_input',
    'cli.bad_ttl',
    `--ttl must be a duration of at least 1m, such as 8h, not "${text}".`,
  );
}

function profileOf(address: ProxyAddress, ping: Ping, issued: UserCertificates, insecure: boolean): Profile {
  return {
    web_proxy_addr: formatAddress(address),
    ssh_proxy_addr: ping.proxy.ssh.ssh_public_addr ?? ping.proxy.ssh.listen_addr,
    user: issued.user,
    cluster: issued.trust.cluster_name,
    roles: [...issued.roles],
    logins: [...issued.logins],
    valid_until: issued.valid_before,
    tls_routing_enabled: ping.proxy.tls_routing_enabled,
    insecure,
    host_cas: [...issued.trust.ssh_host_cas],
  };
}
