// Questions a security key answers: the browser is sent to a page of the proxy, and the answer comes back to us.
import type { AuthRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import type { Client } from '@sallyport/contracts/api/client.ts';
import type { RequestOf, ResultOf } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { notice, styled, visible } from '../output.ts';
import { openBrowser } from './browser-login.ts';
import type { Profile } from './profile.ts';

type Result = Exclude<ResultOf<AuthRoutes['mfaTaskResult']>, { state: 'waiting' }>;

const pauseMs = 500;

export async function inBrowser(
  client: Pick<Client<AuthRoutes>, 'beginMfaTask' | 'mfaTaskResult'>,
  profile: Pick<Profile, 'web_proxy_addr'>,
  task: RequestOf<AuthRoutes['beginMfaTask']>['body'],
): Promise<Result> {
  const { id, code, expires } = await client.beginMfaTask({ body: task });
  const address = `https://${profile.web_proxy_addr}/web/mfa/${id}`;
  notice(
    `Use your security key in the browser; if none opens, open this address yourself:\n  ${visible(address)}`,
  );
  notice(`The page must show the code ${styled('bold', visible(code), process.stderr)}.`);
  openBrowser(address);
  // By a clock of our own: the cluster's may differ.
  const deadline = performance.now() + Math.max(0, Date.parse(expires) - Date.now()) + 10_000;
  while (performance.now() < deadline) {
    const result = await client.mfaTaskResult({ params: { id } });
    if (result.state !== 'waiting') return result;
    await new Promise((wake) => setTimeout(wake, pauseMs));
  }
  throw new AppError('denied', 'tsh.browser_timeout', 'Nobody used a security key in the browser in time.');
}
