// What stands behind the routes of log-ins by browser.
import type { LogInProof } from '@sallyport/contracts/api/auth-routes.ts';
import type { ConnectorDocument } from '@sallyport/contracts/api/connectors.ts';
import type { signOnRoutes } from '@sallyport/contracts/api/sign-on-routes.ts';
import type { CallContext, Handlers } from '../api/handler.ts';
import { type BrowserLogIns, gone } from '../credentials/browser-log-ins.ts';
import type { LogIn } from '../credentials/log-in.ts';
import { readDocumentOf } from '../documents.ts';
import { webAddressOf } from '../invite-url.ts';
import type { Parts } from '../parts.ts';
import { checkConnector, withStoredSecret } from './connectors.ts';
import { SignOn, trialPrefix } from './sign-on.ts';

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
      const { user, connector, remote_addr, trial } = order;
      return {
        code,
        remote_addr,
        ...(user === undefined ? {} : { user }),
        ...(connector === undefined ? {} : { connector }),
        ...(trial === undefined ? {} : { trial }),
      };
    },
    async completeBrowserLogIn({ params, body }, context) {
      await admitted(context);
      const completes = await browserLogIns.read(params.id);
      // A trial has no keys: nobody logs in by it.
      if (completes.order.trial !== undefined) throw gone();
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
      const result = await browserLogIns.result(params.id, body.secret);
      if (result.state === 'tried') throw gone();
      return result;
    },
    async beginSsoTrial({ body }, context) {
      await admitted(context);
      const { connector, secret_sha256 } = body;
      checkConnector(connector);
      const stored = await readDocumentOf(parts.store, connector.kind, connector.metadata.name);
      const document = withStoredSecret<ConnectorDocument>(connector, stored);
      const trial = connector.spec.display ?? connector.metadata.name;
      const keys = { ssh_public_key: '', tls_public_key: '' };
      const order = { ...keys, secret_sha256, trial, connector: connector.metadata.name };
      const begun = await browserLogIns.begin(
        { ...order, remote_addr: context.remoteAddress },
        (id, expires) => [{ type: 'put', key: trialPrefix + id, value: JSON.stringify(document), expires }],
      );
      return { ...begun, url: `https://${await webAddressOf(parts)}/web/cli/${begun.id}` };
    },
    async ssoTrialResult({ params, body }, context) {
      await admitted(context);
      const result = await browserLogIns.result(params.id, body.secret);
      if (result.state === 'done') throw gone();
      return result;
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
