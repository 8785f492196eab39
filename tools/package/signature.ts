// SHA256SUMS over a folder, and two signatures over it by the same Ed25519 key: a bare one, which `openssl pkeyutl`
// verifies, and one as `ssh-keygen -Y verify` reads it (OpenSSH, PROTOCOL.sshsig). Hosts have one or the other.
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { say, workFolder } from './places.ts';

/** What a signature is for: one made for something else must not pass for one of ours. */
export const signatureNamespace = 'sallyport-release';

export interface ReleaseKey {
  readonly key: KeyObject;
  /** PEM of the public half. */
  readonly publicKey: string;
}

/**
 * SALLYPORT_RELEASE_KEY (PEM) or SALLYPORT_RELEASE_KEY_FILE; else a key of this checkout's own, made once: good for
 * packages of one's own building.
 */
export function releaseKey(): ReleaseKey {
  const file = process.env['SALLYPORT_RELEASE_KEY_FILE'] ?? join(workFolder, 'release-key.pem');
  const given = process.env['SALLYPORT_RELEASE_KEY'];
  if (given === undefined && process.env['SALLYPORT_RELEASE_KEY_FILE'] === undefined && !existsSync(file)) {
    mkdirSync(dirname(file), { recursive: true });
    const pem = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' });
    writeFileSync(file, pem, { mode: 0o600, flag: 'wx' });
    say(`no release key was given: made one of this checkout's own, ${file}`);
  }
  const key = createPrivateKey(given ?? readFileSync(file, 'utf8'));
  if (key.asymmetricKeyType !== 'ed25519') throw new Error('the release key must be an Ed25519 key');
  return { key, publicKey: String(createPublicKey(key).export({ type: 'spki', format: 'pem' })) };
}

/** Writes SHA256SUMS, SHA256SUMS.sig and SHA256SUMS.sshsig for every other file of the folder. */
export function signFolder(folder: string, { key }: ReleaseKey): void {
  const files = readdirSync(folder).filter(
    (name) => !name.startsWith('SHA256SUMS') && statSync(join(folder, name)).isFile(),
  );
  const lines = files.sort().map((name) => `${sha256(readFileSync(join(folder, name)))}  ${name}\n`);
  const sums = Buffer.from(lines.join(''));
  writeFileSync(join(folder, 'SHA256SUMS'), sums);
  writeFileSync(join(folder, 'SHA256SUMS.sig'), sign(null, sums, key));
  writeFileSync(join(folder, 'SHA256SUMS.sshsig'), sshSignature(sums, key));
}

function sshSignature(message: Buffer, key: KeyObject): string {
  const hash = createHash('sha512').update(message).digest();
  const context = [text(signatureNamespace), text(''), text('sha512')];
  const signed = Buffer.concat([Buffer.from('SSHSIG'), ...context, text(hash)]);
  const blob = Buffer.concat([
    Buffer.from('SSHSIG'),
    Buffer.from([0, 0, 0, 1]),
    text(sshPublicKey(key)),
    ...context,
    text(Buffer.concat([text('ssh-ed25519'), text(sign(null, signed, key))])),
  ]);
  const lines = blob.toString('base64').match(/.{1,70}/g) ?? [];
  return `-----BEGIN SSH SIGNATURE-----\n${lines.join('\n')}\n-----END SSH SIGNATURE-----\n`;
}

function sshPublicKey(key: KeyObject): Buffer {
  const { x = '' } = createPublicKey(key).export({ format: 'jwk' });
  return Buffer.concat([text('ssh-ed25519'), text(Buffer.from(x, 'base64url'))]);
}

/** RFC 4251, section 5: `string`. */
function text(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
