// Security keys on the page of a one-time link: asks the browser to make a credential and sends it with the form.
import { create } from './credential.js';

const form = document.getElementById('setup');
const options = form?.dataset.webauthn && JSON.parse(form.dataset.webauthn);
if (options && window.PublicKeyCredential) offerSecurityKey();

function offerSecurityKey() {
  const choice = document.getElementById('choice');
  if (choice) choice.hidden = false;
  form.addEventListener('change', showChosen);
  form.addEventListener('submit', (event) => {
    if (!usesKey() || form.elements.webauthn.value !== '') return;
    event.preventDefault();
    register().catch(tell);
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
    form.elements.otp.required = !key;
  }
  document.getElementById('webauthn').hidden = !key;
}

async function register() {
  form.elements.webauthn.value = JSON.stringify(await create(options));
  form.requestSubmit();
}

function tell(error) {
  const problem = document.getElementById('key-problem');
  problem.textContent =
    error.name === 'NotAllowedError'
      ? 'The security key was not used. Press “Set up” to try again.'
      : `The security key could not be set up: ${error.message}`;
  problem.hidden = false;
}
