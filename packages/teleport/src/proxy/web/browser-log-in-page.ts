// The page on which a person completes the log-in their `tsh` began, what came of it, and what went wrong. Password and
// one-time code work without scripts; browsers speak to security keys through JavaScript only.
import type { Ping } from '@sallyport/contracts/api/web-routes.ts';
import { Html, html } from './html.ts';
import { page } from './page.ts';

const script = 'log-in.js';

export interface LogInPage {
  readonly id: string;
  readonly logIn: {
    readonly code: string;
    readonly user?: string | undefined;
    /** The provider tsh was told to use. */
    readonly connector?: string | undefined;
    /** Of the terminal. */
    readonly remote_addr: string;
    /** No log-in: a trial of the provider of this name. */
    readonly trial?: string | undefined;
  };
  readonly ping: Pick<Ping, 'cluster_name' | 'auth'>;
  /** Of the browser. */
  readonly remoteAddr: string;
  /** As typed before, when something was wrong. */
  readonly user?: string | undefined;
  readonly problem?: string | undefined;
}

export function logInPage(shown: LogInPage): Html {
  const { id, logIn, ping, remoteAddr, problem } = shown;
  const { code, connector, trial, remote_addr: terminal } = logIn;
  const { connectors = [], local } = ping.auth;
  const chosen =
    trial === undefined
      ? connectors.filter(({ name }) => name === connector)
      : [{ name: connector ?? '', display: `${trial}, on trial` }];
  const offered = chosen.length > 0 ? chosen : connectors;
  const password = local !== undefined && chosen.length === 0;
  return page(
    `Log in to ${ping.cluster_name}`,
    html`<p>Your terminal asks for this log-in and shows this code:</p>
    <p class="code"><strong id="code">${code}</strong></p>
    <p>If no terminal of yours shows it, close this page: whoever sent you here would be logged in as you.</p>
    ${terminal === remoteAddr || terminal === '' ? undefined : elsewhere(terminal, remoteAddr)}
    ${problem === undefined ? undefined : html`<p class="problem" role="alert">${problem}</p>`}
    ${offered.map((each) => providerForm(id, each))}
    ${password && ping.auth.passwordless === true && takesKeys(ping.auth) ? passkeyForm() : undefined}
    ${password ? passwordForm(shown) : undefined}`,
    script,
  );
}

/** A button that posts: a link could be followed by whoever sends it to somebody. */
function providerForm(
  id: string,
  { name, display }: { readonly name: string; readonly display: string },
): Html {
  return html`<form method="post" action="/web/cli/${id}/sso">
      <input type="hidden" name="connector" value="${name}">
      <button type="submit">Continue with ${display}</button>
    </form>`;
}

/** Shown by the script: without it there are no keys. */
function passkeyForm(): Html {
  return html`<form method="post" id="passkey" hidden>
      <input type="hidden" name="webauthn">
      <input type="hidden" name="passkey" value="yes">
      <button type="submit">Continue with a passkey</button>
      <p class="problem" id="passkey-problem" role="alert" hidden></p>
    </form>`;
}

function takesKeys({ second_factor: mode, webauthn }: Ping['auth']): boolean {
  return webauthn !== undefined && (mode === 'webauthn' || mode === 'on' || mode === 'optional');
}

function passwordForm({ logIn, ping, user }: LogInPage): Html {
  return html`<form method="post" id="log-in">
      <label for="user">User</label>
      <input type="text" id="user" name="user" value="${user ?? logIn.user ?? ''}" maxlength="255" required
        autocomplete="username" autocapitalize="none" spellcheck="false">
      <label for="password">Password</label>
      <input type="password" id="password" name="password" maxlength="1024" required
        autocomplete="current-password">
      ${secondFactor(ping.auth)}
      <button type="submit">Log in</button>
    </form>`;
}

/** Not a redirect: the policy of the page before lets forms go nowhere but to us. */
export function onTheWayPage(display: string, url: string): Html {
  return page(
    `On to ${display}`,
    html`<p>Your browser goes to ${display}, and comes back when you have logged in there.</p>
    <p><a id="provider" href="${url}" rel="noreferrer">Go on</a></p>`,
    script,
    html`<meta http-equiv="refresh" content="0;url=${url}">`,
  );
}

export function triedPage(connector: string): Html {
  return page(
    'The trial is over',
    html`<p role="status">Your terminal shows what ${connector} says. Nobody was logged in. You can close this page.</p>`,
    script,
  );
}

export function loggedInPage(user: string, clusterName: string): Html {
  return page(
    'You are logged in',
    html`<p role="status">Your terminal is logged in to ${clusterName} as <strong>${user}</strong>.
      You can close this page.</p>`,
    script,
  );
}

/** `passing`: the log-in may be as good as before. */
export function logInProblemPage(message: string, passing: boolean): Html {
  return page(
    passing ? 'Not now' : 'This log-in cannot be completed',
    html`<p role="alert">${message}</p>
    <p>${passing ? 'Try again in a while.' : html`Start again in your terminal, with <code>tsh login</code>.`}</p>`,
    script,
  );
}

/** Usually a stranger's; but a terminal may run on a server far away. */
function elsewhere(terminal: string, browser: string): Html {
  return html`<p class="problem">That terminal is at ${terminal}, this browser at ${browser}. Go on only if you know why.</p>`;
}

function secondFactor(auth: Ping['auth']): Html | undefined {
  const mode = auth.second_factor;
  const otp = mode === 'otp' || mode === 'on' || mode === 'optional';
  const key = takesKeys(auth);
  if (!otp && !key) return undefined;
  return html`<fieldset>
      <legend>Second factor${mode === 'optional' ? ' (if you have one)' : undefined}</legend>
      ${otp && key ? choice() : undefined}
      ${otp ? oneTimeCode(mode !== 'optional' && !key) : undefined}
      ${key ? securityKey(otp) : undefined}
    </fieldset>`;
}

/** Shown by the script: without it there is nothing to choose. */
function choice(): Html {
  return html`<div id="choice" hidden>
        <label><input type="radio" name="factor" value="totp" checked> Authenticator app</label>
        <label><input type="radio" name="factor" value="webauthn"> Security key or passkey</label>
      </div>`;
}

function oneTimeCode(required: boolean): Html {
  return html`<div id="totp">
        <label for="otp">Code of six digits</label>
        <input type="text" id="otp" name="otp" inputmode="numeric" pattern="[0-9]{6}" maxlength="6"
          autocomplete="one-time-code"${required ? new Html(' required') : undefined}>
      </div>`;
}

function securityKey(alternative: boolean): Html {
  return html`<div id="webauthn"${alternative ? new Html(' hidden') : undefined}>
        <p>When you press “Log in”, your browser asks for your security key or passkey.</p>
        <input type="hidden" name="webauthn">
        <noscript><p>Security keys need JavaScript.</p></noscript>
        <p class="problem" id="key-problem" role="alert" hidden></p>
      </div>`;
}
