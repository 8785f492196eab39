// The second factor for one session: a code typed here, or a security key in the browser, for a certificate that opens
// this session once, within a minute. The key it is for is made here and forgotten with the session.
import { AppError } from '@sallyport/contracts/errors.ts';
import { generateEd25519, writePrivateKey } from '../../ca/openssh-private-key.ts';
import { publicKeyBlob } from '../../ca/public-key.ts';
import type { ClientKey } from '../../ssh-transport/ssh-client.ts';
import { visible } from '../output.ts';
import { authClient } from './auth-client.ts';
import { inBrowser } from './mfa-browser.ts';
import type { Profile } from './profile.ts';
import { ask } from './prompt.ts';

/** undefined: no second factor is missing there. */
export async function proveForSession(
  profile: Profile,
  node: { readonly host: string },
  login: string,
): Promise<ClientKey | undefined> {
  const key = generateEd25519();
  const wanted = { node: node.host, login, ssh_public_key: publicKeyBlob(key).toString('base64') };
  const { client, close } = await authClient(profile);
  try {
    // Auth that is away, or knows nothing of such a node, cannot help: the node's own refusal stands.
    const question = await client.sessionCertificate({ body: wanted }).catch(() => undefined);
    if (question?.state !== 'needed') return undefined;
    if (!question.otp && !question.webauthn) throw noFactor();
    const where = `${visible(login)}@${visible(node.host)}`;
    const key2 = question.otp && question.webauthn ? ' (nothing: security key, in the browser)' : '';
    const otp = question.otp ? await ask(`Enter your OTP token for ${where}${key2}: `) : '';
    const answer =
      otp === ''
        ? await inBrowser(client, profile, { type: 'session', ...wanted })
        : await client.sessionCertificate({ body: { ...wanted, otp: otp.replace(/\s/g, '') } });
    if (answer.state !== 'issued') return undefined;
    return {
      privateKey: writePrivateKey(key, profile.user),
      certificate: Buffer.from(answer.ssh_certificate, 'base64'),
    };
  } finally {
    close();
  }
}

function noFactor(): AppError {
  return new AppError('denied', 'tsh.no_factor', 'This session needs a second factor, and you have none.', {
    hint: 'Add one with `tsh mfa add`.',
  });
}
