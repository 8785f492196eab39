// Security keys on the page of a log-in: asks the browser to sign the cluster's challenge and sends it with the form.
import { sign } from './credential.js';

const form = document.getElementById('log-in');
const field = document.getElementById('webauthn');
if (form && field && window.PublicKeyCredential) offerSecurityKey();

function offerSecurityKey() {
  const choice = document.getElementById('choice');
  if (choice) choice.hidden = false;
  form.addEventListener('change', showChosen);
  form.addEventListener('submit', (event) => {
    if (!usesKey() || form.elements.webauthn.value !== '') return;
    event.preventDefault();
    useKey().catch(tell);
  });
  showChosen();
}

/** With an authenticator app as the other way, what was chosen; else the key is the only one. */
function usesKey() {
  const factor = form.elements.factor;
  return factor ? factor.value === 'webauthn' : !form.elements.otp;
}

function showChosen() {
  const key = usesKey();
  const totp = document.getElementById('totp');
  if (totp) {
    totp.hidden = key;
    form.elements.otp.disabled = key;
  }
  field.hidden = !key;
}

async function useKey() {
  const options = await challenge(form.elements.user.value.trim());
  form.elements.webauthn.value = JSON.stringify(await sign(options));
  form.requestSubmit();
}

/** The key knows who it is for: no name is asked, and no password. */
const passkey = document.getElementById('passkey');
if (passkey && window.PublicKeyCredential) {
  passkey.hidden = false;
  passkey.addEventListener('submit', (event) => {
    if (passkey.elements.webauthn.value !== '') return;
    event.preventDefault();
    usePasskey().catch((error) => tell(error, 'passkey-problem'));
  });
}

async function usePasskey() {
  const options = await ask('/webapi/mfa/passkey/begin', {});
  passkey.elements.webauthn.value = JSON.stringify(await sign(options));
  passkey.requestSubmit();
}

function challenge(user) {
  return ask('/webapi/mfa/login/begin', { user });
}

async function ask(path, body) {
  const answer = await fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error?.message ?? `status ${answer.status}`);
  if (!said.webauthn) throw new Error('the cluster takes no security keys');
  return said.webauthn;
}

function tell(error, where = 'key-problem') {
  const problem = document.getElementById(where);
  problem.textContent =
    error.name === 'NotAllowedError'
      ? 'No security key of this user was used. Press “Log in” to try again.'
      : `The security key could not be used: ${error.message}`;
  problem.hidden = false;
}
