// The SSH agent (draft-miller-ssh-agent): our certificate goes in with the life it has, and out at log-out.
import type { KeyObject } from 'node:crypto';
import { connect } from 'node:net';
import { str, u32, WireReader } from '../../ca/wire.ts';
import type { Profile } from './profile.ts';

const addIdConstrained = 25;
const removeIdentity = 18;
const requestIdentities = 11;
const identitiesAnswer = 12;
const success = 6;
const constrainLifetime = 1;
const answerTimeoutMs = 3_000;
const maxAnswerBytes = 256 * 1024;

const commentOf = ({ user, cluster }: Pick<Profile, 'user' | 'cluster'>) => `teleport:${cluster}:${user}`;

/** Resolves to why not; undefined when the agent took it. */
export async function addToAgent(
  key: KeyObject,
  certificate: Buffer,
  profile: Profile,
): Promise<string | undefined> {
  const path = process.env['SSH_AUTH_SOCK'];
  if (path === undefined || path === '') return 'there is none (SSH_AUTH_SOCK is not set)';
  const seconds = Math.floor((Date.parse(profile.valid_until) - Date.now()) / 1000);
  const jwk = key.export({ format: 'jwk' });
  const point = Buffer.from(String(jwk.x), 'base64url');
  const seed = Buffer.from(String(jwk.d), 'base64url');
  const message = Buffer.concat([
    Buffer.of(addIdConstrained),
    str('ssh-ed25519-cert-v01@openssh.com'),
    str(certificate),
    str(point),
    str(Buffer.concat([seed, point])),
    str(commentOf(profile)),
    Buffer.of(constrainLifetime),
    u32(Math.max(1, seconds)),
  ]);
  try {
    await removeOld(path, profile);
    const answer = await exchange(path, message);
    return answer[0] === success ? undefined : 'the agent refused it';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Resolves quietly when there is no agent. */
export async function removeFromAgent(profile: Profile): Promise<void> {
  const path = process.env['SSH_AUTH_SOCK'];
  if (path === undefined || path === '') return;
  await removeOld(path, profile).catch(() => {});
}

async function removeOld(path: string, profile: Profile): Promise<void> {
  const answer = await exchange(path, Buffer.of(requestIdentities));
  if (answer[0] !== identitiesAnswer) return;
  const reader = new WireReader(answer.subarray(1), 'agent answer');
  for (let left = reader.u32('count'); left > 0; left--) {
    const blob = reader.bytes('key');
    const comment = reader.text('comment');
    if (comment === commentOf(profile))
      await exchange(path, Buffer.concat([Buffer.of(removeIdentity), str(blob)]));
  }
}

/** One message, one answer, each behind its length. */
function exchange(path: string, message: Buffer): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const socket = connect(path);
  let received = Buffer.alloc(0);
  const fail = (text: string) => {
    socket.destroy();
    reject(new Error(text));
  };
  socket.setTimeout(answerTimeoutMs, () => fail('the agent does not answer'));
  socket.once('error', (error) => fail(`the agent cannot be reached (${error.message})`));
  socket.once('close', () => reject(new Error('the agent closed the connection')));
  socket.on('data', (bytes: Buffer) => {
    received = Buffer.concat([received, bytes]);
    if (received.length < 4) return;
    const length = received.readUInt32BE(0);
    if (length < 1 || length > maxAnswerBytes) return fail('the agent answers nonsense');
    if (received.length < 4 + length) return;
    resolve(received.subarray(4, 4 + length));
    socket.destroy();
  });
  socket.write(Buffer.concat([u32(message.length), message]));
  return promise;
}
