// Installing hosts from the cluster itself: /scripts/install.sh, and the packages it takes from `packages.dir`.
//
//   <dir>/<version>/SHA256SUMS, SHA256SUMS.sig, sallyport_<version>_amd64.deb, …     as `make package` leaves them
//
// Which packages are good is not ours to say: the script asks the signature, with the key of this very release.
import { createReadStream, readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Trust } from '@sallyport/contracts/api/auth-routes.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { pinOf } from '../../ca/pin.ts';
import type { ProxyServiceConfig } from '../../config/config.ts';
import type { ProxyLog } from '../proxy.ts';
import type { ClusterSettings } from './cluster-settings.ts';
import { installScript, refusalScript, sshPublicKey } from './install-script.ts';
import type { WebApp } from './web-server.ts';

export interface InstallOptions {
  readonly config: Pick<ProxyServiceConfig, 'packages' | 'publicAddrs' | 'httpsKeypairs'>;
  readonly settings: Pick<ClusterSettings, 'clusterName'>;
  readonly trust: () => Trust;
  readonly version: string;
  readonly log: ProxyLog;
}

const versionName = /^\d+\.\d+\.\d+([-.~+][A-Za-z0-9.~+-]{0,64})?$/;
const fileName = /^[A-Za-z0-9][A-Za-z0-9._~+-]{0,127}$/;
/** As browsers and curl write Host: what else is in it does not get into a script. */
const hostName = /^([A-Za-z0-9]([A-Za-z0-9.-]{0,252})|\[[0-9a-fA-F:.]{2,45}\])(:\d{1,5})?$/;
/** Each holds a file and a connection. More are told to try again, and install.sh does. */
const maxDownloads = 64;
/** A download that moves nothing for so long is over, ms. */
const stalledMs = 60_000;
/** Of this release; in a checkout there is none. */
const ownKey = new URL('../../../release.pub', import.meta.url);

export function installRoutes(options: InstallOptions): (app: WebApp) => void {
  const downloads = new Downloads(options.config.packages.dir);
  return (app) => {
    app.get('/scripts/install.sh', async (request, reply) => {
      void reply.type('text/x-shellscript; charset=utf-8');
      try {
        return await script(options, request);
      } catch (error) {
        // JSON would be run by the shell at the other end of the pipe.
        const known = AppError.from(error);
        options.log.warn({ error: known.message }, 'install.sh cannot be served');
        return reply.code(503).send(refusalScript(known));
      }
    });
    app.get<{ Params: { version: string; file: string } }>(
      '/packages/:version/:file',
      async ({ params: { version, file } }, reply) => downloads.send(version, file, reply),
    );
  };
}

async function script(options: InstallOptions, request: FastifyRequest): Promise<string> {
  const { config, settings, trust, version } = options;
  const proxy = publicName(config.publicAddrs, request.headers.host);
  return installScript({
    cluster: await settings.clusterName(),
    version,
    proxy,
    source: config.packages.mirror?.replace(/\/+$/, '') ?? `https://${proxy}/packages`,
    caPins: trust().tls_host_cas.map(pinOf),
    publicKey: releaseKey(config.packages.keyFile),
    // With a certificate of the operator's own, hosts are to believe whom they believe anyway.
    caCertificates:
      config.httpsKeypairs.length === 0 && config.packages.mirror === undefined
        ? trust().tls_host_cas.join('\n')
        : '',
  });
}

function publicName([first]: readonly string[], host: string | undefined): string {
  if (first !== undefined) return /:\d+$/.test(first) ? first : `${first}:443`;
  if (host !== undefined && hostName.test(host)) return host;
  throw new AppError('bad_input', 'proxy.no_name', 'The request does not say which host it is for.', {
    hint: 'Set proxy_service.public_addr, or ask with a Host header.',
  });
}

function releaseKey(file: string | undefined): string {
  let pem: string;
  try {
    pem = readFileSync(file ?? ownKey, 'utf8');
  } catch (cause) {
    const message = 'This proxy does not know whose signature packages must bear.';
    throw new AppError('unavailable', 'proxy.no_release_key', message, {
      cause,
      hint: 'It was not installed from a package: set proxy_service.packages.key_file to the release.pub of `make package`.',
    });
  }
  // Throws for what is no key.
  sshPublicKey(pem);
  return pem;
}

class Downloads {
  readonly #dir: string;
  #running = 0;

  constructor(dir: string) {
    this.#dir = dir;
  }

  async send(version: string, name: string, reply: FastifyReply): Promise<FastifyReply> {
    if (!versionName.test(version) || !fileName.test(name)) throw notThere();
    if (this.#running >= maxDownloads) {
      throw new AppError('unavailable', 'proxy.busy', 'Too many packages are being downloaded.', {
        hint: 'Try again in a minute.',
      });
    }
    this.#running++;
    reply.raw.once('close', () => this.#running--);
    const file = await open(join(this.#dir, version, name)).catch(() => {
      throw notThere();
    });
    const { size } = await file.stat().then(
      (stat) => (stat.isFile() ? stat : { size: -1 }),
      () => ({ size: -1 }),
    );
    if (size < 0) {
      await file.close();
      throw notThere();
    }
    reply.raw.setTimeout(stalledMs, () => reply.raw.destroy());
    void reply.type('application/octet-stream').header('content-length', size);
    // A file that grows meanwhile is cut at what was promised.
    return reply.send(createReadStream('', { fd: file, start: 0, end: Math.max(0, size - 1) }));
  }
}

function notThere(): AppError {
  return new AppError('not_found', 'proxy.no_package', 'There is no such package here.', {
    hint: 'The operator puts what `make package` built into proxy_service.packages.dir, a folder a version.',
  });
}
