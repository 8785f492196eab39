// The proxy's composition: one web port that carries everything, the SSH gateway and the tunnel server.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { ProxyOptions, RunningProxy } from './proxy.ts';

export type * from './proxy.ts';

/** Resolves when every port listens; rejects when an address is taken or a certificate unfit. */
export async function startProxy(_options: ProxyOptions): Promise<RunningProxy> {
  throw new AppError('unsupported', 'proxy.not_built', 'The proxy service is not there yet.');
}
