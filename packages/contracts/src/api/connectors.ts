// Identity providers as resources: who may vouch for people, and what their claims are worth here.
import { z } from 'zod';
import { metadata, resourceName } from './resource-parts.ts';

/** Given instead of a secret by a read without secrets. Written back, it leaves the stored secret as it is. */
export const maskedSecret = '********';

const head = { version: z.string().optional(), metadata };
const text = z.string().min(1).max(2048);
const duration = z.string().regex(/^(\d+(\.\d+)?(ms|s|m|h|d))+$/, 'must be a duration such as 8h or 1h30m');

/** Only these go to a person's browser and to the network; http is for a provider on this very host. */
const providerUrl = z.string().max(2048).refine(isProviderUrl, {
  error: 'must be an https address (http is taken for localhost only)',
});

function isProviderUrl(value: string): boolean {
  const match = /^(https?):\/\/(\[[0-9a-f:]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?(\/[^\s?#]*)?$/.exec(value);
  if (match === null) return false;
  return match[1] === 'https' || /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(match[2] ?? '');
}

/** A role, or `$1` for what the first group of the mapping's pattern matched. */
const roleOrGroup = z.union(
  [resourceName, z.string().regex(/^[A-Za-z0-9._@+-]*\$\{?[1-9]\}?[A-Za-z0-9._@+-]*$/)],
  {
    error: 'must be the name of a role, or hold one group of the pattern such as $1',
  },
);

const secret = z.string().min(1).max(4096);
/** PEM; believed for this provider beside what the auth host believes anyway. */
const issuerCa = z.string().max(65_536).optional();

export const oidcDocument = z.strictObject({
  kind: z.literal('oidc'),
  ...head,
  spec: z.strictObject({
    issuer_url: providerUrl,
    client_id: text,
    client_secret: secret.optional(),
    /** `https://PROXY/v1/webapi/oidc/callback`; of several, the one on the host the browser is at. */
    redirect_url: z.union([providerUrl, z.array(providerUrl).min(1).max(16)]),
    /** As log-in pages call it; default: its name. */
    display: z.string().min(1).max(64).optional(),
    /** Beside `openid`. Default: profile, email. */
    scope: z
      .array(z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]{1,256}$/))
      .max(32)
      .optional(),
    /** Which claim is the user's name here. Default: email. */
    username_claim: z.string().min(1).max(256).optional(),
    claims_to_roles: z
      .array(
        z.strictObject({
          claim: z.string().min(1).max(256),
          /** Exactly this; with `*` any letters in its place; `^…$` a regular expression. */
          value: z.string().max(1024),
          roles: z.array(roleOrGroup).min(1).max(64),
        }),
      )
      .min(1)
      .max(256),
    allow_unverified_email: z.boolean().optional(),
    prompt: z.enum(['none', 'login', 'consent', 'select_account']).optional(),
    /** The provider must have seen the person within this time. */
    max_age: duration.optional(),
    /** Asked of the provider; its answer must be one of them. */
    acr_values: z.array(z.string().min(1).max(256)).max(16).optional(),
    issuer_ca: issuerCa,
  }),
});

export const githubDocument = z.strictObject({
  kind: z.literal('github'),
  ...head,
  spec: z.strictObject({
    client_id: text,
    client_secret: secret.optional(),
    redirect_url: providerUrl,
    display: z.string().min(1).max(64).optional(),
    teams_to_roles: z
      .array(
        z.strictObject({
          organization: z.string().min(1).max(256),
          /** The team's slug, as in its address. */
          team: z.string().min(1).max(256),
          roles: z.array(resourceName).min(1).max(64),
        }),
      )
      .min(1)
      .max(256),
    /** Of GitHub Enterprise Server. Default: https://github.com */
    endpoint_url: providerUrl.optional(),
    /** Default: https://api.github.com, or `/api/v3` of endpoint_url. */
    api_endpoint_url: providerUrl.optional(),
    issuer_ca: issuerCa,
  }),
});

export type OidcDocument = z.output<typeof oidcDocument>;
export type GithubDocument = z.output<typeof githubDocument>;
export type ConnectorDocument = OidcDocument | GithubDocument;
export const connectorKinds = ['oidc', 'github'] as const;
export type ConnectorKind = (typeof connectorKinds)[number];
