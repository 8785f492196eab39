// Security keys on the page of a log-in: asks the browser to sign the cluster's challenge and sends it with the form.
import { bytes, text } from './credential.js';

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
  const credential = await navigator.credentials.get({
    publicKey: {
      ...options,
      challenge: bytes(options.challenge),
      allowCredentials: (options.allowCredentials ?? []).map((one) => ({
        type: 'public-key',
        ...one,
        id: bytes(one.id),
      })),
    },
  });
  const { clientDataJSON, authenticatorData, signature, userHandle } = credential.response;
  form.elements.webauthn.value = JSON.stringify({
    id: credential.id,
    rawId: text(credential.rawId),
    type: credential.type,
    authenticatorAttachment: credential.authenticatorAttachment ?? undefined,
    clientExtensionResults: credential.getClientExtensionResults(),
    response: {
      clientDataJSON: text(clientDataJSON),
      authenticatorData: text(authenticatorData),
      signature: text(signature),
      userHandle: userHandle ? text(userHandle) : undefined,
    },
  });
  form.requestSubmit();
}

async function challenge(user) {
  const answer = await fetch('/webapi/mfa/login/begin', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ user }),
  });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error?.message ?? `status ${answer.status}`);
  if (!said.webauthn) throw new Error('the cluster takes no security keys');
  return said.webauthn;
}

function tell(error) {
  const problem = document.getElementById('key-problem');
  problem.textContent =
    error.name === 'NotAllowedError'
      ? 'No security key of this user was used. Press “Log in” to try again.'
      : `The security key could not be used: ${error.message}`;
  problem.hidden = false;
}
