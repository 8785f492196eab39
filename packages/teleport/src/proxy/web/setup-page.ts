// The pages of one-time links, as HTML: a form to set password and second factor, what came of it, and what went wrong.
// They work without scripts, but for security keys: browsers speak to those through JavaScript only.
import QRCode from 'qrcode';
import { Html, html } from './html.ts';
import { page } from './page.ts';

export interface Setup {
  readonly user: string;
  readonly purpose: 'invite' | 'reset';
  readonly expires: string;
  readonly second_factor: string;
  readonly totp?: { readonly secret: string; readonly url: string } | undefined;
  readonly webauthn?: Readonly<Record<string, unknown>> | undefined;
}

export async function setupPage(setup: Setup, clusterName: string, problem?: string): Promise<Html> {
  const { purpose, user, expires } = setup;
  const title = purpose === 'invite' ? `Welcome to ${clusterName}` : `Reset your log-in to ${clusterName}`;
  return page(
    title,
    html`<p>You set up the log-in of <strong>${user}</strong>. This link works once, until
      <time datetime="${expires}">${readable(expires)}</time>.</p>
    ${problem === undefined ? undefined : html`<p class="problem" role="alert">${problem}</p>`}
    <form method="post" id="setup"${webauthnAttribute(setup)}>
      <input type="text" name="username" value="${user}" autocomplete="username" hidden>
      <label for="password">Password, at least 12 characters</label>
      <input type="password" id="password" name="password" minlength="12" maxlength="1024" required
        autocomplete="new-password">
      <label for="again">The same password again</label>
      <input type="password" id="again" name="again" required autocomplete="new-password">
      ${await secondFactor(setup)}
      <button type="submit">Set up</button>
    </form>`,
  );
}

export function donePage(user: string, proxyAddress: string, clusterName: string): Html {
  return page(
    'You are set up',
    html`<p role="status">The log-in of <strong>${user}</strong> to ${clusterName} is ready. In your terminal:</p>
    <pre><code>tsh login --proxy=${proxyAddress} --user=${user}</code></pre>`,
  );
}

/** `passing`: the link may be as good as before. */
export function problemPage(message: string, passing: boolean): Html {
  return page(
    passing ? 'Not now' : 'This link cannot be used',
    html`<p role="alert">${message}</p>
    <p>${passing ? 'Try again in a while.' : 'Ask whoever gave it to you for a new one.'}</p>`,
  );
}

async function secondFactor(setup: Setup): Promise<Html | undefined> {
  const { totp, webauthn, second_factor } = setup;
  if (totp === undefined && webauthn === undefined) return undefined;
  const optional = second_factor === 'optional';
  const app = totp && (await authenticatorApp(totp, { required: webauthn === undefined && !optional }));
  return html`<fieldset>
      <legend>Second factor${optional ? ' (you may leave it out)' : ''}</legend>
      ${app && webauthn ? choice() : undefined}
      ${app}
      ${webauthn === undefined ? undefined : securityKey(app !== undefined)}
    </fieldset>`;
}

/** Shown by the script: without it there is nothing to choose. */
function choice(): Html {
  return html`<div id="choice" hidden>
        <label><input type="radio" name="factor" value="totp" checked> Authenticator app</label>
        <label><input type="radio" name="factor" value="webauthn"> Security key or passkey</label>
      </div>`;
}

async function authenticatorApp(
  { secret, url }: { secret: string; url: string },
  { required }: { required: boolean },
): Promise<Html> {
  const picture = await QRCode.toString(url, { type: 'svg', errorCorrectionLevel: 'M', margin: 4 });
  // The library's own text; the URL in it is dots by now.
  const accessible = picture.replace(
    '<svg ',
    '<svg role="img" aria-label="QR code for your authenticator app" ',
  );
  return html`<div id="totp">
        <p>Scan this with an authenticator app, or type the key into it, then enter the code it shows.</p>
        <div class="qr">${new Html(accessible)}</div>
        <p>Key: <code id="secret">${secret}</code></p>
        <label for="otp">Code of six digits</label>
        <input type="text" id="otp" name="otp" inputmode="numeric" pattern="[0-9]{6}" maxlength="6"
          autocomplete="one-time-code"${required ? new Html(' required') : undefined}>
      </div>`;
}

function securityKey(alternative: boolean): Html {
  return html`<div id="webauthn"${alternative ? new Html(' hidden') : undefined}>
        <p>When you press “Set up”, your browser asks for your security key or passkey.</p>
        <label for="device">Name of the key</label>
        <input type="text" id="device" name="device_name" maxlength="64" value="security key">
        <input type="hidden" name="webauthn">
        <noscript><p>Security keys need JavaScript.</p></noscript>
        <p class="problem" id="key-problem" role="alert" hidden></p>
      </div>`;
}

function webauthnAttribute({ webauthn }: Setup): Html | undefined {
  return webauthn && html` data-webauthn="${JSON.stringify(webauthn)}"`;
}

/** `2026-03-01 12:00 UTC` */
function readable(instant: string): string {
  return `${instant.slice(0, 10)} ${instant.slice(11, 16)} UTC`;
}
