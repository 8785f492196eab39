// The page of a question tsh asks: the browser signs with a security key, or makes a new one, and the form carries it.
import { create, sign } from './credential.js';

const form = document.getElementById('mfa');
if (form && window.PublicKeyCredential) {
  form.addEventListener('submit', (event) => {
    if (form.elements.done.value !== '') return;
    event.preventDefault();
    answer().catch(tell);
  });
}

async function answer() {
  const { get, create: make } = JSON.parse(document.getElementById('options').textContent);
  if (get) form.elements.get.value = JSON.stringify(await sign(get));
  if (make) form.elements.create.value = JSON.stringify(await create(make));
  form.elements.done.value = 'yes';
  form.requestSubmit();
}

function tell(error) {
  const problem = document.getElementById('key-problem');
  problem.textContent =
    error.name === 'NotAllowedError'
      ? 'The security key was not used. Press the button to try again.'
      : `The security key could not be used: ${error.message}`;
  problem.hidden = false;
}
