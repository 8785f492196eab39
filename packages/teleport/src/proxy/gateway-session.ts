// Session channels at the gateway. Clients that know the way ask for the subsystem `proxy:host:port` and get a stream;
// whoever asks for a shell is told where shells are.
import type { Duplex } from 'node:stream';
import type { NodeDocument } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { parseAddress } from '../config/address.ts';
import type { SessionChannel, SessionHandler } from '../ssh-transport/session-channel.ts';
import type { Target } from './node-directory.ts';
import { SessionStream } from './session-stream.ts';

export interface GatewayDoor {
  readonly clusterName: string;
  dial(target: Target): Promise<{ stream: Duplex; node: NodeDocument }>;
  join(near: Duplex, far: Duplex, node: NodeDocument): void;
}

const refusedStatus = 1;

export class GatewaySession implements SessionHandler {
  readonly #channel: SessionChannel;
  readonly #door: GatewayDoor;
  #stream: SessionStream | undefined;

  constructor(channel: SessionChannel, door: GatewayDoor) {
    this.#channel = channel;
    this.#door = door;
  }

  shell(): boolean {
    return this.#explain();
  }

  exec(): boolean {
    return this.#explain();
  }

  async subsystem(name: string): Promise<boolean> {
    const target = targetOf(name);
    if (target === undefined) return this.#say(`"${printable(name)}" is not a subsystem of this proxy.`);
    try {
      const { stream, node } = await this.#door.dial(target);
      if (!this.#channel.isOpen) {
        stream.destroy();
        return false;
      }
      this.#stream = new SessionStream(this.#channel);
      this.#door.join(this.#stream, stream, node);
      return true;
    } catch (error) {
      return this.#say(AppError.from(error).message);
    }
  }

  closed(): void {
    this.#stream?.destroy();
  }

  #explain(): boolean {
    const { clusterName } = this.#door;
    return this.#say(
      `This is the SSH gateway of the cluster ${clusterName}. It gives no shell and runs no command.\r\n` +
        'Log in to a node: tsh ssh USER@NODE, or ssh -J with the addresses `tsh config` prints.',
    );
  }

  /** Yes to the request: clients print what a program says, not why a request failed. */
  #say(text: string): true {
    // After the answer to the request: a client may drop what comes before it.
    setImmediate(() => void this.#sayAndClose(text));
    return true;
  }

  async #sayAndClose(text: string): Promise<void> {
    await this.#channel.stderr.write(Buffer.from(`${text}\r\n`));
    if (!this.#channel.isOpen) return;
    this.#channel.exit(refusedStatus);
    await this.#channel.close();
  }
}

/** `proxy:host:port`, `proxy:host`, and the documented `proxy:host:port@cluster`. */
function targetOf(name: string): Target | undefined {
  const text = /^proxy:([^@]+)(?:@[^@]*)?$/.exec(name)?.[1];
  return text === undefined ? undefined : parseAddress(text, 0);
}

function printable(text: string): string {
  return text.slice(0, 64).replace(/[^\x20-\x7e]/g, '?');
}
