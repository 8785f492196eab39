// The client's side of a public key log-in (RFC 4252 section 7, RFC 8332, RFC 8308).
import type { KeyObject } from 'node:crypto';
import { AppError } from '@sallyport/contracts/errors.ts';
import { algorithmsForBlobType } from './algorithms.ts';
import { Message } from './message.ts';
import { plainKey, publicBlob, signature } from './public-key.ts';
import type { ClientKey } from './ssh-client.ts';
import { privateKeyFrom } from './ssh2-protocol.ts';
import { encode, WireReader } from './wire.ts';

/** One thing to show: a certificate or a plain key, and the key to sign with. */
export interface Credential {
  readonly blob: Buffer;
  readonly privateKey: KeyObject;
}

export function credentialsOf(key: ClientKey): Credential[] {
  const privateKey = privateKeyFrom(key.privateKey);
  const blob = publicBlob(privateKey);
  if (!key.certificate) return [{ blob, privateKey }];
  if (!plainKey(key.certificate)?.equals(blob)) {
    throw new AppError('bad_input', 'ssh.user_certificate', 'The certificate is not for this private key.');
  }
  return [{ blob: key.certificate, privateKey }];
}

/** `server-sig-algs` of an EXT_INFO message; undefined when it is not there. */
export function signatureAlgorithms(payload: Buffer): readonly string[] | undefined {
  const reader = new WireReader(payload, 1);
  for (let left = Math.min(reader.uint32(), 64); left > 0; left--) {
    const name = reader.text();
    const value = reader.text();
    if (reader.ok && name === 'server-sig-algs') return value.split(',');
  }
  return undefined;
}

/** The signed request; undefined when the server verifies no algorithm of this key. */
export function logInRequest(
  credential: Credential,
  login: string,
  sessionId: Buffer,
  serverAlgorithms: readonly string[] | undefined,
): Buffer | undefined {
  const { blob, privateKey } = credential;
  const algorithm = algorithmsForBlobType(new WireReader(blob).text()).find(
    ({ signatureType }) => serverAlgorithms?.includes(signatureType) ?? true,
  );
  if (!algorithm) return undefined;
  const head = { byte: Message.userauthRequest };
  const request = encode(head, login, 'ssh-connection', 'publickey', true, algorithm.name, blob);
  const signed = signature(algorithm, privateKey, Buffer.concat([encode(sessionId), request]));
  return Buffer.concat([request, encode(signed)]);
}
