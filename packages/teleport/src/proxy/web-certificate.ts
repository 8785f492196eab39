// Which certificate the web listener shows. The operator's key pairs (https_keypairs) when there are any, chosen by the
// name the browser asked for and read again when the files change; else the host's own, under the host CA.
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext, type SecureContext } from 'node:tls';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { ProxyLog, TlsKeyPair } from './proxy.ts';

export interface KeyPairFiles {
  readonly keyFile: string;
  readonly certFile: string;
}

interface LoadedPair {
  readonly pair: TlsKeyPair;
  readonly leaf: X509Certificate;
  readonly context: SecureContext;
}

/** TLS 1.2 stays for old browsers and scripts; our own clients speak 1.3 only. */
export const minVersion = 'TLSv1.2' as const;

export class WebCertificate {
  readonly #files: readonly KeyPairFiles[];
  readonly #log: ProxyLog;
  #pairs: readonly LoadedPair[];

  private constructor(files: readonly KeyPairFiles[], pairs: readonly LoadedPair[], log: ProxyLog) {
    this.#files = files;
    this.#pairs = pairs;
    this.#log = log;
  }

  /** Rejects (`proxy.bad_keypair`) when a file cannot be used: at the start the operator is there to read it. */
  static async open(files: readonly KeyPairFiles[], own: TlsKeyPair, log: ProxyLog): Promise<WebCertificate> {
    const pairs = files.length === 0 ? [load(own, 'the host identity')] : await Promise.all(files.map(read));
    return new WebCertificate(files, pairs, log);
  }

  /** Of the pair that names this host; the first one for everybody else. */
  contextFor(serverName: string | undefined): SecureContext {
    const named = serverName && this.#pairs.find(({ leaf }) => leaf.checkHost(serverName) !== undefined);
    return (named || this.#first).context;
  }

  /** For clients that name nobody. */
  get default(): TlsKeyPair {
    return this.#first.pair;
  }

  /** A renewed host identity; of no effect beside the operator's own pairs. */
  setOwn(own: TlsKeyPair): void {
    if (this.#files.length === 0) this.#pairs = [load(own, 'the host identity')];
  }

  /** Reads the files again. True: something changed. One that cannot be used is told, and the old pairs stay. */
  async reload(): Promise<boolean> {
    if (this.#files.length === 0) return false;
    try {
      const pairs = await Promise.all(this.#files.map(read));
      if (pairs.every((pair, i) => samePair(pair, this.#pairs[i]))) return false;
      this.#pairs = pairs;
      this.#log.info(
        { files: this.#files.map(({ certFile }) => certFile) },
        'new web certificates are in use',
      );
      return true;
    } catch (error) {
      // Also while certificate and key are being replaced one after the other: the next look finds both.
      const { message } = AppError.from(error);
      this.#log.error({ error: message }, 'the web certificates were not reloaded; the old ones stay in use');
      return false;
    }
  }

  get #first(): LoadedPair {
    const [first] = this.#pairs;
    if (first === undefined)
      throw new AppError('internal', 'proxy.no_certificate', 'There is no certificate.');
    return first;
  }
}

async function read({ keyFile, certFile }: KeyPairFiles): Promise<LoadedPair> {
  const [key, cert] = await Promise.all([readText(keyFile), readText(certFile)]);
  return load({ key, cert }, certFile);
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new AppError('unavailable', 'proxy.bad_keypair', `${path} cannot be read.`, { cause: error });
  }
}

function load(pair: TlsKeyPair, where: string): LoadedPair {
  try {
    const { key, cert } = pair;
    // Throws when key and certificate do not belong together.
    return { pair, leaf: new X509Certificate(cert), context: createSecureContext({ key, cert, minVersion }) };
  } catch (error) {
    throw new AppError(
      'bad_input',
      'proxy.bad_keypair',
      `${where}: not a certificate with its private key.`,
      {
        cause: error,
      },
    );
  }
}

function samePair(a: LoadedPair, b: LoadedPair | undefined): boolean {
  return (
    b !== undefined &&
    String(a.pair.key) === String(b.pair.key) &&
    String(a.pair.cert) === String(b.pair.cert)
  );
}

/** Why a certificate can convince nobody now. */
export function certificateProblem(cert: string | Buffer, now: Date): string[] {
  const leaf = new X509Certificate(cert);
  return leaf.validToDate > now ? [] : [`the host certificate expired at ${leaf.validToDate.toISOString()}`];
}
