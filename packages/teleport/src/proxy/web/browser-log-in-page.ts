// The page on which a person completes the log-in their `tsh` began, what came of it, and what went wrong. Password and
// one-time code work without scripts; browsers speak to security keys through JavaScript only.
import type { Ping } from '@sallyport/contracts/api/web-routes.ts';
import type { BrowserLogIn } from './browser-log-ins.ts';
import { Html, html } from './html.ts';
import { page } from './page.ts';

const script = 'log-in.js';

export interface LogInPage {
  readonly logIn: BrowserLogIn;
  readonly ping: Pick<Ping, 'cluster_name' | 'auth'>;
  /** Of the browser. */
  readonly remoteAddr: string;
  /** As typed before, when something was wrong. */
  readonly user?: string | undefined;
  readonly problem?: string | undefined;
}

export function logInPage({ logIn, ping, remoteAddr, user, problem }: LogInPage): Html {
  const { code, order } = logIn;
  return page(
    `Log in to ${ping.cluster_name}`,
    html`<p>Your terminal asks for this log-in and shows this code:</p>
    <p class="code"><strong id="code">${code}</strong></p>
    <p>If no terminal of yours shows it, close this page: whoever sent you here would be logged in as you.</p>
    ${order.remoteAddr === remoteAddr ? undefined : elsewhere(order.remoteAddr, remoteAddr)}
    ${problem === undefined ? undefined : html`<p class="problem" role="alert">${problem}</p>`}
    <form method="post" id="log-in">
      <label for="user">User</label>
      <input type="text" id="user" name="user" value="${user ?? order.user ?? ''}" maxlength="255" required
        autocomplete="username" autocapitalize="none" spellcheck="false">
      <label for="password">Password</label>
      <input type="password" id="password" name="password" maxlength="1024" required
        autocomplete="current-password">
      ${secondFactor(ping.auth)}
      <button type="submit">Log in</button>
    </form>`,
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

function secondFactor({ second_factor: mode, webauthn }: Ping['auth']): Html | undefined {
  const otp = mode === 'otp' || mode === 'on' || mode === 'optional';
  const key = webauthn !== undefined && (mode === 'webauthn' || mode === 'on' || mode === 'optional');
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
