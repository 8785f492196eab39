// `teleport configure`: a first teleport.yaml, and `teleport node configure`: that of a node which joins a cluster.
import { writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { AppError } from '@sallyport/contracts/errors.ts';
import { parseAddress } from '../../config/address.ts';
import { type ActiveKeys, configTemplate, nodeTemplate } from '../../config/config-template.ts';
import { defaultConfigPath, loadConfig, loadConfigFile } from '../../config/load-config.ts';
import { notice, print } from '../output.ts';

export interface ConfigureFlags {
  readonly clusterName?: string;
  readonly nodename?: string;
  readonly dataDir?: string;
  readonly output: string;
  readonly test?: string;
  readonly publicAddr?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  readonly acme?: boolean;
  readonly acmeEmail?: string;
}

export interface NodeConfigureFlags {
  readonly token: string;
  readonly proxy?: string;
  readonly authServer?: string;
  readonly caPin?: readonly string[];
  readonly labels?: readonly string[];
  readonly nodename?: string;
  readonly dataDir?: string;
  readonly enhancedRecording?: boolean;
  readonly output: string;
}

export async function configureAction(flags: ConfigureFlags): Promise<void> {
  if (flags.test !== undefined) return testFile(flags.test);
  const nodename = flags.nodename ?? (hostname() || 'localhost');
  const text = configTemplate(
    { nodename, clusterName: flags.clusterName ?? nodename, dataDir: flags.dataDir ?? defaultDataDir },
    proxyKeys(flags),
  );
  await hand(text, flags.output, ['teleport doctor', `teleport start -c ${pathOf(flags.output)}`]);
}

export async function nodeConfigureAction(flags: NodeConfigureFlags): Promise<void> {
  const { token, proxy, authServer, caPin = [], labels = [] } = flags;
  if ((proxy === undefined) === (authServer === undefined)) {
    throw new AppError('bad_input', 'cli.one_upstream', 'A node joins by a proxy or by the auth service.', {
      hint: 'Give --proxy=HOST:PORT, or --auth-server=HOST:PORT.',
    });
  }
  const text = nodeTemplate(
    { nodename: flags.nodename ?? (hostname() || 'localhost'), dataDir: flags.dataDir ?? defaultDataDir },
    {
      ...(proxy === undefined ? {} : { 'teleport.proxy_server': address('--proxy', proxy) }),
      ...(authServer === undefined ? {} : { 'teleport.auth_server': address('--auth-server', authServer) }),
      'teleport.join_params.method': 'token',
      'teleport.join_params.token_name': JSON.stringify(token),
      ...(caPin.length === 0 ? {} : { 'teleport.ca_pin': JSON.stringify(caPin) }),
      ...(labels.length === 0
        ? {}
        : { 'ssh_service.labels': JSON.stringify(Object.fromEntries(labels.map(label))) }),
      ...(flags.enhancedRecording ? { 'ssh_service.enhanced_recording.enabled': 'true' } : {}),
    },
  );
  if (caPin.length === 0)
    notice('No --ca-pin: whoever answers will be believed. `tctl status` shows the pin.');
  await hand(text, flags.output, [
    'teleport doctor',
    `systemctl enable --now teleport   (or: teleport start -c ${pathOf(flags.output)})`,
  ]);
}

const defaultDataDir = '/var/lib/teleport';

/** What makes this host the cluster's door, when one of these flags was given. */
function proxyKeys({ publicAddr, certFile, keyFile, acme = false, acmeEmail }: ConfigureFlags): ActiveKeys {
  if ((certFile === undefined) !== (keyFile === undefined)) {
    throw new AppError('bad_input', 'cli.half_keypair', 'A certificate needs its key.', {
      hint: 'Give --cert-file and --key-file together.',
    });
  }
  if (publicAddr === undefined && certFile === undefined && !acme && acmeEmail === undefined) return {};
  const pair = { key_file: keyFile, cert_file: certFile };
  return {
    'proxy_service.enabled': 'true',
    'proxy_service.web_listen_addr': '0.0.0.0:443',
    ...(publicAddr === undefined ? {} : { 'proxy_service.public_addr': JSON.stringify([publicAddr]) }),
    ...(certFile === undefined ? {} : { 'proxy_service.https_keypairs': JSON.stringify([pair]) }),
    ...(acme || acmeEmail !== undefined ? { 'proxy_service.acme.enabled': 'true' } : {}),
    ...(acmeEmail === undefined ? {} : { 'proxy_service.acme.email': JSON.stringify(acmeEmail) }),
  };
}

/** Text that is the configuration: to where it was asked for, after a look whether `teleport start` takes it. */
async function hand(text: string, output: string, next: readonly string[]): Promise<void> {
  // A flag may hold what no file may; better said here than at the first start.
  const { warnings } = loadConfig(text, 'the configuration made of these flags');
  for (const { message } of warnings) notice(`warning: ${message}`);
  if (output === 'stdout') return print(text.trimEnd());
  await writeNew(pathOf(output), text);
  notice(`Wrote ${pathOf(output)}. Next:\n${next.map((line) => `  ${line}`).join('\n')}`);
}

function pathOf(output: string): string {
  return output === 'file' || output === 'stdout' ? defaultConfigPath : output.replace(/^file:\/\//, '');
}

function address(flag: string, text: string): string {
  if (/^https?:/.test(text) || parseAddress(text, 3080) === undefined) {
    throw new AppError('bad_input', 'cli.bad_address', `${flag}: "${text}" is not host:port.`, {
      hint: 'For example proxy.example.com:443, without a scheme.',
    });
  }
  return JSON.stringify(text);
}

function label(text: string): [string, string] {
  const [, name, value] = /^([^=\s]+)=(.*)$/.exec(text) ?? [];
  if (name !== undefined && value !== undefined) return [name, value];
  throw new AppError('bad_input', 'cli.bad_label', `--labels: "${text}" is not name=value.`, {
    hint: 'For example --labels=env=prod,rack=7.',
  });
}

async function testFile(path: string): Promise<void> {
  const { warnings } = await loadConfigFile(path);
  for (const { line, column, message } of warnings) {
    notice(`${line === undefined ? path : `${path}:${line}:${column}`}: warning: ${message}`);
  }
  print(`${path} is valid.`);
}

/** Never over an existing file: it may be the only copy of somebody's configuration. */
async function writeNew(path: string, text: string): Promise<void> {
  try {
    // Join tokens may come to stand in it.
    await writeFile(path, text, { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') {
      throw new AppError('conflict', 'cli.file_exists', `${path} exists already and is left as it is.`, {
        cause: error,
        hint: 'Name another file with -o, or move that one away.',
      });
    }
    throw new AppError('unavailable', 'cli.cannot_write', `${path} cannot be written.`, {
      cause: error,
      hint: 'Check that the folder is there and that this user may write to it (root for /etc).',
    });
  }
}
