// What `curl https://PROXY/scripts/install.sh | sudo bash` gets: the script of assets/, with what this cluster knows
// put in as quoted words.
import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { AppError } from '@sallyport/contracts/errors.ts';

export interface InstallFacts {
  readonly cluster: string;
  readonly version: string;
  /** `host:port`, for the configuration of a node. */
  readonly proxy: string;
  /** Below it stand `<version>/SHA256SUMS` and its like. */
  readonly source: string;
  readonly caPins: readonly string[];
  /** PEM. */
  readonly publicKey: string;
  /** PEM, of the authorities behind the proxy's certificate; empty where the host knows them. */
  readonly caCertificates: string;
}

const template = readFileSync(new URL('assets/install.sh', import.meta.url), 'utf8');

export function installScript(facts: InstallFacts): string {
  const words: Readonly<Record<string, string>> = {
    CLUSTER: facts.cluster,
    VERSION: facts.version,
    PROXY: facts.proxy,
    SOURCE: facts.source,
    CA_PINS: facts.caPins.join(','),
    PUBLIC_KEY: facts.publicKey.trim(),
    SSH_PUBLIC_KEY: sshPublicKey(facts.publicKey),
    CA_CERTIFICATES: facts.caCertificates.trim(),
  };
  return template.replace(/@([A-Z_]+)@/g, (whole, name: string) => {
    const word = words[name];
    return word === undefined ? whole : quoted(word);
  });
}

/** When there is nothing to install: whoever pipes the answer into a shell is told, and nothing else happens. */
export function refusalScript(error: AppError): string {
  const lines = [error.message, ...(error.hint === undefined ? [] : [error.hint])];
  return `${lines.map((line) => `echo ${quoted(`install.sh: ${line}`)} >&2`).join('\n')}\nexit 1\n`;
}

/** One word for a shell, whatever it holds. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** `ssh-ed25519 AAAA…`, for hosts that verify with ssh-keygen. Throws for anything but an Ed25519 key. */
export function sshPublicKey(pem: string): string {
  const key = readKey(pem);
  const { x = '' } = key.export({ format: 'jwk' });
  const parts = [Buffer.from('ssh-ed25519'), Buffer.from(x, 'base64url')].flatMap((part) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(part.length);
    return [length, part];
  });
  return `ssh-ed25519 ${Buffer.concat(parts).toString('base64')}`;
}

function readKey(pem: string) {
  try {
    const key = createPublicKey(pem);
    if (key.asymmetricKeyType === 'ed25519' && !pem.includes('PRIVATE')) return key;
  } catch {
    // Said below.
  }
  throw new AppError(
    'bad_input',
    'proxy.bad_release_key',
    'The release key is no public Ed25519 key in PEM.',
    {
      hint: 'proxy_service.packages.key_file must be the release.pub that `make package` writes.',
    },
  );
}
