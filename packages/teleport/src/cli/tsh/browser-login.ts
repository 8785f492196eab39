// `tsh login --auth=browser`: the proxy's page asks for password and security key; the certificates come here, because
// they are for keys made here and only we know the secret that fetches them.
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import type { UserCertificates } from '@sallyport/contracts/api/auth-routes.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { notice, styled, visible } from '../output.ts';
import type { webClient } from './web-client.ts';

export interface BrowserLoginRequest {
  /** Filled into the page. */
  readonly user?: string;
  /** The identity provider to go to. */
  readonly connector?: string;
  readonly ssh_public_key: string;
  readonly tls_public_key: string;
  readonly ttl_ms: number | undefined;
}

/**
 * The proxy ends a log-in sooner, and says so; this ends the wait for a proxy that stays away. By a clock of our own:
 * the proxy's may differ.
 */
const patienceMs = 6 * 60_000;
/** Between polls that failed: a proxy that restarts must not be hammered. */
const pauseMs = 1_000;

export async function logInByBrowser(
  web: Pick<ReturnType<typeof webClient>, 'startBrowserLogIn' | 'browserLogInResult'>,
  request: BrowserLoginRequest,
  opens: boolean,
): Promise<UserCertificates> {
  const secret = randomBytes(32).toString('base64url');
  const secret_sha256 = createHash('sha256').update(secret).digest('hex');
  const { id, url, code } = await web.startBrowserLogIn({ body: { ...request, secret_sha256 } });
  const address = webAddress(url);
  notice(`Log in with your browser; if none opens, open this address yourself:\n  ${visible(address)}`);
  notice(`The page must show the code ${styled('bold', visible(code), process.stderr)}.`);
  if (opens) openBrowser(address);
  const deadline = performance.now() + patienceMs;
  while (performance.now() < deadline) {
    const answer = await web.browserLogInResult({ params: { id }, body: { secret } }).catch(passing);
    if (answer?.state === 'done') return answer.certificates;
    if (answer?.state === 'refused')
      throw new AppError('denied', 'tsh.log_in_refused', answer.message, { hint: answer.hint });
    if (answer === undefined) await new Promise((wake) => setTimeout(wake, pauseMs));
  }
  throw new AppError('denied', 'tsh.browser_timeout', 'Nobody logged in with the browser in time.', {
    hint: 'Run `tsh login` again.',
  });
}

/** A proxy that cannot be reached for a moment has not forgotten the log-in. */
function passing(error: unknown): undefined {
  if (error instanceof AppError && (error.kind === 'unavailable' || error.kind === 'limit')) return undefined;
  throw error;
}

/** What is handed to the person's browser is an https address, whatever the proxy says. */
function webAddress(text: string): string {
  const url = new URL(text);
  if (url.protocol === 'https:') return url.href;
  throw new AppError(
    'denied',
    'tsh.bad_url',
    `The proxy named an address that is no web page: ${visible(text)}.`,
  );
}

/** Best effort, and never through a shell. BROWSER is what others honour too. */
export function openBrowser(url: string): void {
  const display = process.env['DISPLAY'] ?? process.env['WAYLAND_DISPLAY'];
  const usual = process.platform === 'darwin' ? 'open' : display === undefined ? undefined : 'xdg-open';
  const program = process.env['BROWSER'] ?? usual;
  if (program === undefined || program === '') return;
  const browser = spawn(program, [url], { stdio: 'ignore', detached: true });
  browser.on('error', () => {});
  browser.unref();
}
