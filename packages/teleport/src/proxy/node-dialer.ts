// From a registered node to a byte stream into its SSH server: by its address, or through the tunnel it keeps.
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import type { NodeDocument } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { parseAddress } from '../config/address.ts';
import type { Address } from '../config/config.ts';
import type { Agents } from './agents.ts';
import type { RelayWords } from './relay-words.ts';

export interface NodeDialerOptions {
  readonly agents: Agents;
  /** Signs, for nodes dialled by address, whose the connection is; through a tunnel the channel says it. */
  readonly words: RelayWords;
  readonly timeoutMs: number;
}

export class NodeDialer {
  readonly #options: NodeDialerOptions;

  constructor(options: NodeDialerOptions) {
    this.#options = options;
  }

  /** `remote`: of the person's machine. Rejects with an AppError whose message may be shown to the person. */
  dial(node: NodeDocument, remote: Address): Promise<Duplex> {
    const { metadata, spec } = node;
    const address = spec.addr === undefined ? undefined : parseAddress(spec.addr, 0);
    const { timeoutMs } = this.#options;
    if (spec.tunnel || address === undefined)
      return withTimeout(this.#openTunnel(metadata.name, spec.hostname, remote), timeoutMs, spec.hostname);
    return this.#connect(node, address, remote);
  }

  async #connect({ metadata, spec }: NodeDocument, address: Address, remote: Address): Promise<Duplex> {
    const socket = await dialTcp(address, spec.hostname, this.#options.timeoutMs);
    // Any other server would take the line for the beginning of a broken client.
    if (spec.takes_relay_line !== true) return socket;
    try {
      const line = await this.#options.words.line(metadata.name, remote);
      if (line !== undefined) socket.write(line);
      return socket;
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  async #openTunnel(hostUuid: string, hostname: string, remote: Address): Promise<Duplex> {
    try {
      return await this.#options.agents.open(hostUuid, { remote });
    } catch (error) {
      throw unreachable(hostname, AppError.from(error).message, error);
    }
  }
}

function dialTcp(address: Address, hostname: string, timeoutMs: number): Promise<Duplex> {
  const { promise, resolve, reject } = Promise.withResolvers<Duplex>();
  // allowHalfOpen: the end of one direction is passed on, and is not the end of the other.
  const socket = connect({ ...address, noDelay: true, allowHalfOpen: true });
  const timer = setTimeout(() => socket.destroy(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs);
  const fail = (error: Error) => {
    clearTimeout(timer);
    reject(unreachable(hostname, error.message, error));
  };
  socket.once('error', fail);
  socket.once('connect', () => {
    clearTimeout(timer);
    socket.removeListener('error', fail);
    resolve(socket);
  });
  return promise;
}

/** A stream that comes too late has nobody to read it. */
async function withTimeout(stream: Promise<Duplex>, timeoutMs: number, hostname: string): Promise<Duplex> {
  const { promise, reject } = Promise.withResolvers<never>();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    reject(unreachable(hostname, `no answer in ${timeoutMs} ms`));
  }, timeoutMs);
  stream.then((opened) => late && opened.destroy()).catch(() => {});
  return Promise.race([stream, promise]).finally(() => clearTimeout(timer));
}

function unreachable(hostname: string, why: string, cause?: unknown): AppError {
  const message = `The node ${hostname} cannot be reached: ${why.replace(/\.$/, '')}.`;
  return new AppError('unavailable', 'proxy.node_unreachable', message, { cause });
}
