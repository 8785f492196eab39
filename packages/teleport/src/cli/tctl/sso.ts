// `tctl sso`: connectors to identity providers, composed from flags and tried before they are written.
import { createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { ConnectorDocument } from '@sallyport/contracts/api/connectors.ts';
import { resourceDocument } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { parseYamlDocuments, toYaml } from '../../config/yaml-text.ts';
import { notice, print, visible } from '../output.ts';
import { type AuthClient, withCluster } from './cluster.ts';

interface ConfigureFlags {
  readonly name?: string;
  readonly id: string;
  readonly secret: string;
  readonly redirectUrl?: string;
  readonly display?: string;
}

export interface ConfigureOidcFlags extends ConfigureFlags {
  readonly issuerUrl: string;
  readonly claimsToRoles: readonly string[];
  readonly scope?: readonly string[];
  readonly usernameClaim?: string;
  readonly allowUnverifiedEmail: boolean;
}

export interface ConfigureGithubFlags extends ConfigureFlags {
  readonly teamsToRoles: readonly string[];
  readonly endpointUrl?: string;
  readonly apiEndpointUrl?: string;
}

export async function configureOidcAction(
  config: string | undefined,
  flags: ConfigureOidcFlags,
): Promise<void> {
  await printed({
    kind: 'oidc',
    version: 'v3',
    metadata: { name: flags.name ?? 'oidc' },
    spec: {
      ...(await shared(config, 'oidc', flags)),
      issuer_url: flags.issuerUrl,
      claims_to_roles: flags.claimsToRoles.map((text) => {
        const [claim, value, ...roles] = parts(text, '--claims-to-roles', 'CLAIM,VALUE,ROLE[,ROLE…]');
        return { claim, value, roles };
      }),
      ...(flags.scope === undefined ? {} : { scope: [...flags.scope] }),
      ...(flags.usernameClaim === undefined ? {} : { username_claim: flags.usernameClaim }),
      ...(flags.allowUnverifiedEmail ? { allow_unverified_email: true } : {}),
    },
  });
}

export async function configureGithubAction(
  config: string | undefined,
  flags: ConfigureGithubFlags,
): Promise<void> {
  await printed({
    kind: 'github',
    version: 'v3',
    metadata: { name: flags.name ?? 'github' },
    spec: {
      ...(await shared(config, 'github', flags)),
      teams_to_roles: flags.teamsToRoles.map((text) => {
        const [organization, team, ...roles] = parts(
          text,
          '--teams-to-roles',
          'ORGANIZATION,TEAM,ROLE[,ROLE…]',
        );
        return { organization, team, roles };
      }),
      ...(flags.endpointUrl === undefined ? {} : { endpoint_url: flags.endpointUrl }),
      ...(flags.apiEndpointUrl === undefined ? {} : { api_endpoint_url: flags.apiEndpointUrl }),
    },
  });
}

async function shared(config: string | undefined, kind: 'oidc' | 'github', flags: ConfigureFlags) {
  return {
    client_id: flags.id,
    client_secret: flags.secret,
    redirect_url: flags.redirectUrl ?? (await redirectUrl(config, kind)),
    ...(flags.display === undefined ? {} : { display: flags.display }),
  };
}

/** Of the proxy that is there. */
function redirectUrl(config: string | undefined, kind: string): Promise<string> {
  return withCluster(config, async ({ client }) => {
    const { resources } = await client.listResources({ params: { kind: 'proxy' } });
    const [proxy] = resources;
    if (proxy?.kind === 'proxy') return `https://${proxy.spec.web_addr}/v1/webapi/${kind}/callback`;
    throw new AppError(
      'not_found',
      'cli.no_proxy',
      'There is no proxy whose address the provider could redirect to.',
      {
        hint: `Say --redirect-url=https://PROXY/v1/webapi/${kind}/callback.`,
      },
    );
  });
}

function parts(text: string, flag: string, form: string): [string, string, string, ...string[]] {
  const [first, second, third, ...more] = text.split(',').map((part) => part.trim());
  if (first && second !== undefined && third) return [first, second, third, ...more];
  throw new AppError('bad_input', 'cli.bad_mapping', `${flag}: "${visible(text)}" is not ${form}.`);
}

async function printed(document: unknown): Promise<void> {
  print(toYaml(checked(document)).trimEnd());
}

function checked(document: unknown): ConnectorDocument {
  const parsed = resourceDocument.safeParse(document);
  if (parsed.success && (parsed.data.kind === 'oidc' || parsed.data.kind === 'github')) return parsed.data;
  const issue = parsed.error?.issues[0];
  const where = issue === undefined || issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
  throw new AppError('bad_input', 'auth.bad_resource', `${where}${issue?.message ?? 'is no connector'}.`, {
    hint: 'A connector is a document of kind oidc or github: `tctl sso configure` prints one.',
  });
}

const pauseMs = 500;

export async function testAction(config: string | undefined, file: string): Promise<void> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new AppError('not_found', 'cli.unreadable_file', `${file} cannot be read.`, { cause });
  });
  const [document, another] = parseYamlDocuments(text, file).filter((each) => each !== null);
  if (another !== undefined)
    throw new AppError('bad_input', 'cli.one_document', 'Exactly one document was expected.');
  const connector = checked(document);
  await withCluster(config, ({ client }) => tryConnector(client, connector));
}

async function tryConnector(client: AuthClient, connector: ConnectorDocument): Promise<void> {
  const secret = randomBytes(32).toString('base64url');
  const secret_sha256 = createHash('sha256').update(secret).digest('hex');
  const { id, url, code, expires } = await client.beginSsoTrial({ body: { connector, secret_sha256 } });
  notice(
    `Open this address in a browser and log in there; nobody is logged in to the cluster by it:\n  ${visible(url)}`,
  );
  notice(`The page must show the code ${visible(code)}.`);
  // By a clock of our own: the cluster's may differ.
  const deadline = performance.now() + Math.max(0, Date.parse(expires) - Date.now()) + 10_000;
  while (performance.now() < deadline) {
    const result = await client.ssoTrialResult({ params: { id }, body: { secret } });
    if (result.state === 'refused')
      throw new AppError('denied', 'cli.trial_refused', result.message, { hint: result.hint });
    if (result.state === 'tried') {
      const { user, roles, attributes, problems } = result;
      print(toYaml({ user, roles, attributes }).trimEnd());
      if (problems.length === 0) return;
      throw new AppError('denied', 'cli.trial_refused', `A log-in would be refused: ${problems.join('; ')}.`);
    }
    await new Promise((wake) => setTimeout(wake, pauseMs));
  }
  throw new AppError('denied', 'cli.trial_timeout', 'Nobody logged in at the provider in time.');
}
