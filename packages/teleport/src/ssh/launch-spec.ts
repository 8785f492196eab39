import { AppError } from '@sallyport/contracts/errors.ts';
import type { LaunchRequest } from './launch.ts';

/** As in session.h of the launcher (SPEC_MAX, MODES_MAX, half of ENV_MAX, PAM_ENV_MAX); a test holds them against it. */
export const SPEC_MAX = 256 * 1024;
export const MODES_MAX = 1024;
export const CLIENT_ENV_MAX = 256;
export const PAM_ENV_MAX = 64;

/** The launcher's specification: 4 bytes of length, big-endian, then NUL-terminated `key=value` strings. */
export function encodeSpec(request: LaunchRequest): Buffer {
  const text = Buffer.from(specFields(request).map(terminated).join(''));
  if (text.length > SPEC_MAX) throw refuse(`it takes ${text.length} bytes, at most ${SPEC_MAX} are allowed`);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(text.length);
  return Buffer.concat([head, text]);
}

function specFields(request: LaunchRequest): string[] {
  const { command, cgroupDir, pamService, pty, relay, sftp } = request;
  const fields = [`login=${request.login}`, `remote_host=${request.remoteHost}`];
  if (command !== undefined) fields.push(`command=${command}`);
  if (relay) fields.push('relay=1');
  if (sftp) fields.push('sftp=1');
  if (cgroupDir !== undefined) fields.push(`cgroup=${cgroupDir}`);
  if (pamService !== undefined) fields.push(`pam_service=${pamService}`);
  if (pty) fields.push(`size=${sizeWords(pty)}`, `term=${pty.term}`, `modes=${modesHex(pty.modes)}`);
  if (request.userEnvironment) fields.push('user_env=1');
  const pamVariables = environmentFields('pam_env', request.pamEnvironment ?? {}, PAM_ENV_MAX);
  return [...fields, ...environmentFields('env', request.env, CLIENT_ENV_MAX), ...pamVariables];
}

/** `struct winsize` has 16 bits a member; a client may send 32. */
export function sizeWords(size: { cols: number; rows: number; xpixel: number; ypixel: number }): string {
  return [size.cols, size.rows, size.xpixel, size.ypixel].map((n) => Math.min(n, 0xffff)).join(' ');
}

function modesHex(modes: Buffer): string {
  if (modes.length > MODES_MAX) throw refuse('its terminal modes are too long');
  return modes.toString('hex');
}

function environmentFields(key: string, env: Readonly<Record<string, string>>, max: number): string[] {
  const entries = Object.entries(env);
  if (entries.length > max) throw refuse(`it has more than ${max} variables`);
  return entries.map(([name, value]) => {
    if (name === '' || name.includes('=')) throw refuse('it has a variable without a proper name');
    return `${key}=${name}=${value}`;
  });
}

function terminated(field: string): string {
  if (field.includes('\0')) throw refuse('it contains a NUL byte');
  return `${field}\0`;
}

function refuse(why: string): AppError {
  return new AppError('bad_input', 'launch.request', `The session cannot be started as asked: ${why}.`);
}
