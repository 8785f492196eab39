// `tctl nodes …` and `tctl tokens …`: hosts and what lets them in.
import type { HostRole } from '@sallyport/contracts/api/route.ts';
import { hostRoles } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { formatDuration } from '../../config/duration.ts';
import { print, printJson, table } from '../output.ts';
import { type ClusterSession, withCluster } from './cluster.ts';
import { oneFormatOf } from './format.ts';
import { ttlOf } from './users.ts';

const shortestToken = 8;

export interface NewToken {
  readonly roles: readonly string[];
  readonly ttl: string;
  readonly value?: string;
  readonly labels?: string;
  readonly uses?: number;
  readonly format: string;
}

/** `tctl nodes add`: a token and the command line that uses it. */
export async function addNode(config: string | undefined, flags: NewToken): Promise<void> {
  const format = oneFormatOf(flags.format, ['text', 'json']);
  await withCluster(config, async (cluster) => {
    const { token, expires, ca_pins } = await createToken(cluster, flags);
    if (format === 'json') return printJson([token]);
    const { kind, address } = cluster.upstream;
    const life = lifeUntil(expires);
    print(`The invite token: ${token}\nThis token will expire in ${life}.\n`);
    print(
      kind === 'auth'
        ? commandToJoin(rolesOf(flags.roles), token, ca_pins, address)
        : fileToJoin(rolesOf(flags.roles), token, ca_pins, address),
    );
    const elsewhere =
      'teleport.proxy_server in its configuration to a proxy: the node then needs no open port';
    print(`
Please note:

  - This invitation token will expire in ${life}
  - ${address} must be reachable from the new node${kind === 'auth' ? `; where it is not, set\n    ${elsewhere}` : ''}`);
  });
}

function commandToJoin(roles: readonly HostRole[], token: string, pins: readonly string[], auth: string) {
  return `Run this on the new node to join the cluster:

> teleport start \\
   --roles=${roles.join(',')} \\
   --token=${token} \\
${pins.map((pin) => `   --ca-pin=${pin} \\\n`).join('')}   --auth-server=${auth}`;
}

/** Through a proxy: there is no flag for that one. */
function fileToJoin(roles: readonly HostRole[], token: string, pins: readonly string[], proxy: string) {
  const enabled = (role: HostRole) => `{enabled: ${roles.includes(role)}}`;
  return `Put this into /etc/teleport.yaml on the new node, then run \`teleport start\` there:

version: v3
teleport:
  proxy_server: ${proxy}
  join_params: {method: token, token_name: ${JSON.stringify(token)}}
  ca_pin: [${pins.map((pin) => `"${pin}"`).join(', ')}]
auth_service: {enabled: false}
proxy_service: ${enabled('proxy')}
ssh_service: ${enabled('node')}`;
}

/** `tctl tokens add` */
export async function addToken(config: string | undefined, flags: NewToken): Promise<void> {
  const format = oneFormatOf(flags.format, ['text', 'json']);
  await withCluster(config, async (cluster) => {
    const { token, expires } = await createToken(cluster, flags);
    if (format === 'json') return printJson({ token, roles: rolesOf(flags.roles), expires });
    print(`The invite token: ${token}\nThis token will expire in ${lifeUntil(expires)}.`);
  });
}

function createToken({ client }: ClusterSession, flags: NewToken) {
  return client.createToken({
    body: {
      roles: rolesOf(flags.roles),
      ttl_ms: ttlOf(flags.ttl),
      value: checkedValue(flags.value),
      labels: flags.labels === undefined ? undefined : labelsOf(flags.labels),
      uses: flags.uses,
    },
  });
}

export async function listTokens(
  config: string | undefined,
  flags: { format: string; withSecrets: boolean },
): Promise<void> {
  const format = oneFormatOf(flags.format, ['text', 'json', 'yaml']);
  await withCluster(config, async ({ client }) => {
    const { resources } = await client.listResources({
      params: { kind: 'token' },
      query: { secrets: flags.withSecrets ? 'true' : 'false' },
    });
    const tokens = resources.filter((resource) => resource.kind === 'token');
    if (format === 'json') return printJson(tokens);
    if (format === 'yaml') return print(await yamlOf(tokens));
    if (tokens.length === 0) return print('No active tokens found.');
    const rows = tokens.map(({ metadata, spec }) => [
      metadata.name,
      spec.roles.map(typeName).join(','),
      labelText(spec.labels ?? {}),
      expiryText(metadata.expires),
    ]);
    print(table(['Token', 'Type', 'Labels', 'Expiry Time (UTC)'], rows));
  });
}

export async function removeToken(config: string | undefined, name: string): Promise<void> {
  await withCluster(config, async ({ client }) => {
    await client.deleteResource({ params: { kind: 'token', name } });
    print(`Token ${name} has been deleted`);
  });
}

export async function listNodes(config: string | undefined, flags: { format: string }): Promise<void> {
  const format = oneFormatOf(flags.format, ['text', 'json', 'yaml']);
  await withCluster(config, async ({ client }) => {
    const { resources } = await client.listResources({ params: { kind: 'node' } });
    const nodes = resources.filter((resource) => resource.kind === 'node');
    if (format === 'json') return printJson(nodes);
    if (format === 'yaml') return print(await yamlOf(nodes));
    const rows = nodes.map(({ metadata, spec }) => [
      spec.hostname,
      metadata.name,
      spec.tunnel ? '(tunnel)' : (spec.addr ?? ''),
      labelText(spec.labels),
      spec.version,
    ]);
    print(table(['Host', 'UUID', 'Address', 'Labels', 'Version'], rows));
  });
}

async function yamlOf(documents: readonly unknown[]): Promise<string> {
  const { toYaml } = await import('../../config/yaml-text.ts');
  return documents.map(toYaml).join('---\n').trimEnd();
}

function rolesOf(words: readonly string[]): HostRole[] {
  return words.map((word) => {
    const role = hostRoles.find((each) => each === word.toLowerCase());
    if (role !== undefined) return role;
    throw new AppError('bad_input', 'cli.unknown_role', `"${word}" is not a service a host can join as.`, {
      hint: `The services are ${hostRoles.join(', ')}.`,
    });
  });
}

/** Said here in the words of the flag; the service refuses it too. */
function checkedValue(value: string | undefined): string | undefined {
  if (value === undefined || value.length >= shortestToken) return value;
  throw new AppError(
    'bad_input',
    'cli.short_token',
    `A token has at least ${shortestToken} characters: whoever guesses one joins the cluster.`,
    { hint: 'Leave the value out for a random one.' },
  );
}

/** `env=prod,team=web` */
function labelsOf(text: string): Record<string, string> {
  const pairs = text.split(',').filter((pair) => pair !== '');
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=');
      if (at > 0) return [pair.slice(0, at), pair.slice(at + 1)];
      throw new AppError('bad_input', 'cli.bad_label', `--labels: "${pair}" is not KEY=VALUE.`);
    }),
  );
}

function labelText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .sort()
    .join(',');
}

const typeName = (role: HostRole) => role[0]?.toUpperCase() + role.slice(1);

function lifeUntil(expires: string): string {
  const minutes = Math.max(1, Math.round((Date.parse(expires) - Date.now()) / 60_000));
  return minutes % 60 === 0 ? formatDuration(minutes * 60_000) : `${minutes} minutes`;
}

function expiryText(expires: string | undefined): string {
  if (expires === undefined) return 'never';
  const left = Math.max(0, Math.round((Date.parse(expires) - Date.now()) / 1000)) * 1000;
  return `${expires.replace('T', ' ').replace(/\.\d+Z$/, '')} (${formatDuration(left)})`;
}
