// The only door to ssh2. Of it we use the packet layer: version exchange, key exchange, ciphers, strict kex. Its
// Server, Client and Channel are not used: they verify no signatures, ignore the socket's back-pressure and break
// when a handler throws. The hooks named here are added by patches/ssh2@1.17.0.patch.
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { createRequire } from 'node:module';
import type { KexMethod } from './hybrid-kex.ts';

export interface Negotiated {
  readonly kex: string;
  readonly serverHostKey: string;
  readonly cs: { readonly cipher: string; readonly mac: string };
  readonly sc: { readonly cipher: string; readonly mac: string };
}

/** What ssh2 asks of a server's host key. Under an algorithm name of its own, so that K_S may be a certificate. */
export interface HostKeySigner {
  readonly type: string;
  getPublicSSH(): Buffer;
  sign(data: Buffer): Buffer | Error;
}

export interface Header {
  readonly identRaw: string;
}

export interface ProtocolConfig {
  readonly server: boolean;
  readonly hostKeys?: Readonly<Record<string, HostKeySigner>>;
  readonly ident: Buffer;
  readonly offer: object;
  onWrite(data: Uint8Array): void;
  onError(error: Error): void;
  onHeader(header: Header): void;
  onHandshakeComplete(negotiated: Negotiated): void;
  readonly messageHandlers: { DISCONNECT(protocol: unknown, reason: number, text: string): void };
  /** Returns undefined to answer later through `decide`. Runs in every key exchange. */
  hostVerifier?(blob: Buffer, decide: (permitted: boolean) => void): boolean | undefined;
  // Added by the patch:
  readonly kexMethods: Readonly<Record<string, () => KexMethod>>;
  plainHostKey?(blob: Buffer): Buffer;
  onMessage(type: number, payload: Buffer): void;
}

/** Private parts of ssh2's Protocol, pinned with its version; tools/apply-patches.ts refuses another. */
export interface Protocol {
  start(): void;
  parse(chunk: Buffer, from: number, to: number): void;
  rekey(): void;
  disconnect(reason: number): void;
  cleanup(): void;
  /** Our KEXINIT while a key exchange is on its way, else undefined. */
  readonly _kexinit: Buffer | undefined;
  readonly _kex: { readonly sessionID: Buffer | undefined; readonly negotiated: Negotiated } | undefined;
  /** Packets waiting for the key exchange to end. */
  readonly _queue: readonly unknown[] | undefined;
  readonly _decipher: { readonly inSeqno: number } | undefined;
  readonly _packetRW: {
    readonly write: {
      readonly allocStart: number;
      alloc(bytes: number): Buffer;
      finalize(packet: Buffer): Buffer;
    };
  };
}

interface Ssh2Key {
  getPrivatePEM(): string | null;
}

const load = createRequire(import.meta.url);

// Requires of files inside the package have no types of their own: these are the shapes at 1.17.0.
const Ssh2Protocol: new (config: ProtocolConfig) => Protocol = load('ssh2/lib/protocol/Protocol.js');
const { KexInit }: { KexInit: new (lists: object) => object } = load('ssh2/lib/protocol/kex.js');
const { sendPacket }: { sendPacket(protocol: Protocol, packet: Buffer, evenDuringKex?: boolean): boolean } =
  load('ssh2/lib/protocol/utils.js');
const { init }: { init: Promise<void> } = load('ssh2/lib/protocol/crypto.js');
const { parseKey }: { parseKey(data: string | Buffer): Ssh2Key | readonly Ssh2Key[] | Error } = load(
  'ssh2/lib/protocol/keyParser.js',
);

/** Must have resolved before the first Protocol: poly1305 is WebAssembly here, for want of the native binding. */
export const ready: Promise<void> = init;

export function createProtocol(config: ProtocolConfig): Protocol {
  return new Ssh2Protocol(config);
}

export function kexInit(lists: {
  readonly kex: readonly string[];
  readonly serverHostKey: readonly string[];
  readonly cipher: readonly string[];
  readonly mac: readonly string[];
}): object {
  const direction = { cipher: lists.cipher, mac: lists.mac, compress: ['none'], lang: [] };
  return new KexInit({ kex: lists.kex, serverHostKey: lists.serverHostKey, cs: direction, sc: direction });
}

/** Sends `head` and `tail` as one packet; queued by ssh2 while keys are being exchanged. */
export function sendPayload(protocol: Protocol, head: Buffer, tail?: Buffer): void {
  const { write } = protocol._packetRW;
  const at = write.allocStart;
  const packet = write.alloc(head.length + (tail?.length ?? 0));
  packet.set(head, at);
  if (tail) packet.set(tail, at + head.length);
  sendPacket(protocol, write.finalize(packet));
}

/** A private key from PKCS#8 PEM or OpenSSH's own text. Never hand certificate text to ssh2: it reads it wrongly. */
export function privateKeyFrom(text: string | Buffer): KeyObject {
  const pem = text.toString();
  if (!pem.includes('BEGIN OPENSSH PRIVATE KEY')) return createPrivateKey(pem);
  const parsed = parseKey(pem);
  if (parsed instanceof Error) throw parsed;
  const key = Array.isArray(parsed) ? parsed[0] : parsed;
  const converted = key?.getPrivatePEM();
  if (!converted) throw new Error('holds no private key');
  return createPrivateKey(converted);
}
