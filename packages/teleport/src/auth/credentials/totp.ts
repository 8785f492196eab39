// One-time codes by the clock (RFC 6238): SHA-1, six digits, 30 s, as every authenticator app has them.
import { generateSecret, generateURI, verify } from 'otplib';
import type { TotpDevice } from './device.ts';

const periodS = 30;

export function newTotpSecret(): string {
  return generateSecret({ length: 20 });
}

export function totpUrl(secret: string, user: string, cluster: string): string {
  return generateURI({ issuer: cluster, label: user, secret });
}

/**
 * The time step of the code, to be remembered as used; `undefined`: wrong, or used before. A code of the step
 * before or after is taken as well, for clocks that differ.
 */
export async function checkTotp(
  device: Pick<TotpDevice, 'secret' | 'lastStep'>,
  code: string,
  now: Date,
): Promise<number | undefined> {
  const token = code.replaceAll(' ', '');
  if (!/^\d{6}$/.test(token)) return undefined;
  const epoch = Math.floor(now.getTime() / 1000);
  const step = Math.floor(epoch / periodS);
  const result = await verify({ secret: device.secret, token, epoch, epochTolerance: periodS });
  if (!result.valid) return undefined;
  const used = step + result.delta;
  return used > device.lastStep ? used : undefined;
}
