// What stands behind the routes of log-ins by browser.
import type { LogInProof } from '@sallyport/contracts/api/auth-routes.ts';
import type { signOnRoutes } from '@sallyport/contracts/api/sign-on-routes.ts';
import type { CallContext, Handlers } from '../api/handler.ts';
import type { BrowserLogIns } from '../credentials/browser-log-ins.ts';
import type { LogIn } from '../credentials/log-in.ts';
import type { Parts } from '../parts.ts';
import { SignOn } from './sign-on.ts';

export interface SignOnParts {
  readonly parts: Parts;
  readonly browserLogIns: BrowserLogIns;
  readonly logIn: LogIn;
  /** Rejects unless the caller is still somebody. */
  readonly admitted: (context: CallContext) => Promise<void>;
}

export function signOnHandlers({
  parts,
  browserLogIns,
  logIn,
  admitted,
}: SignOnParts): Handlers<typeof signOnRoutes> {
  const signOn = new SignOn(parts, browserLogIns);
  return {
    async beginBrowserLogIn({ body }, context) {
      await admitted(context);
      return browserLogIns.begin(body);
    },
    async readBrowserLogIn({ params }, context) {
      await admitted(context);
      const { code, order } = await browserLogIns.read(params.id);
      const { user, connector, remote_addr } = order;
      return {
        code,
        remote_addr,
        ...(user === undefined ? {} : { user }),
        ...(connector === undefined ? {} : { connector }),
      };
    },
    async completeBrowserLogIn({ params, body }, context) {
      await admitted(context);
      const completes = await browserLogIns.read(params.id);
      const { order } = completes;
      const { user } = await logIn.logIn({
        proof: body.proof as LogInProof,
        sshPublicKey: Buffer.from(order.ssh_public_key, 'base64'),
        tlsPublicKey: order.tls_public_key,
        ttlMs: order.ttl_ms,
        remoteAddr: body.remote_addr,
        userAgent: body.user_agent,
        completes,
      });
      return { user };
    },
    async browserLogInResult({ params, body }, context) {
      await admitted(context);
      return browserLogIns.result(params.id, body.secret);
    },
    async beginSso({ body }, context) {
      await admitted(context);
      return signOn.begin(body);
    },
    async completeSso({ body }, context) {
      await admitted(context);
      return signOn.complete(body);
    },
  };
}
