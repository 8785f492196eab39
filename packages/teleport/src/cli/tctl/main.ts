// The `tctl` command: administering a cluster, on its auth host or from anywhere after `tsh login`.
// Only the command tree is here; each action loads its own code, so that --help answers at once.
import { InvalidArgumentError } from 'commander';
import { commaList, examples, program, run } from '../output.ts';

export function tctlProgram() {
  const tctl = program(
    'tctl',
    'Administer the cluster: on the auth host as root, or anywhere after `tsh login` with a role that may.',
  );
  tctl.option(
    '-c, --config <file>',
    'configuration file (default: $TELEPORT_CONFIG_FILE, else /etc/teleport.yaml if it exists)',
  );
  const config = () => tctl.opts<{ config?: string }>().config;

  const users = tctl.command('users').description('Users: who they are, what they may be on a host.');
  examples(
    users
      .command('add')
      .description('Create a user.')
      .argument('<name>', 'name of the user')
      .requiredOption('--logins <list>', 'host accounts the user may log in to', commaList)
      .option('--roles <list>', 'roles of the user (default: access)', commaList)
      .option('--ttl <duration>', 'how long the sign-up link works (default: 1h)')
      .option('--format <format>', 'text or json', 'text')
      .action(async (name, flags) => (await import('./users.ts')).addUser(config(), name, flags)),
    'tctl users add alice --logins=root,ubuntu',
    'tctl users add bob --logins=www-data --roles=access,auditors-watch-closely',
  );
  examples(
    users
      .command('update')
      .description("Change a user's roles or logins.")
      .argument('<name>', 'name of the user')
      .option('--set-roles <list>', 'the roles from now on', commaList)
      .option('--set-logins <list>', 'the logins from now on', commaList)
      .action(async (name, flags) => (await import('./users.ts')).updateUser(config(), name, flags)),
    'tctl users update alice --set-logins=ubuntu',
  );
  examples(
    users
      .command('ls')
      .description('List users.')
      .option('--format <format>', 'text or json', 'text')
      .action(async (flags) => (await import('./users.ts')).listUsers(config(), flags)),
    'tctl users ls',
    "tctl users ls --format=json | jq -r '.[].name'",
  );
  examples(
    users
      .command('reset')
      .description('A one-time link by which a user sets password and second factor anew; the old ones end.')
      .argument('<name>', 'name of the user')
      .option('--ttl <duration>', 'how long the link works (default: 8h)')
      .option('--format <format>', 'text or json', 'text')
      .action(async (name, flags) => (await import('./users.ts')).resetUser(config(), name, flags)),
    'tctl users reset alice',
  );
  examples(
    users
      .command('rm')
      .description('Delete users. Their certificates are refused from then on.')
      .argument('<names...>', 'names of the users')
      .action(async (names) => (await import('./users.ts')).removeUsers(config(), names)),
    'tctl users rm alice',
  );

  const nodes = tctl.command('nodes').description('Hosts of the cluster.');
  examples(
    nodes
      .command('add')
      .description('A token for a new host, and the command that joins with it.')
      .option('--roles <list>', 'what it may join as: node, proxy', commaList)
      .option('--ttl <duration>', 'how long the token works', '30m')
      .option('--token <value>', 'this token instead of a random one')
      .option('--labels <pairs>', 'KEY=VALUE,… every host that joins with it gets')
      .option('--uses <count>', 'how many hosts may join with it (default: any number)', count)
      .option('--format <format>', 'text or json', 'text')
      .action(async ({ token, ...flags }) =>
        (await import('./nodes.ts')).addNode(config(), {
          ...flags,
          value: token,
          roles: flags.roles ?? ['node'],
        }),
      ),
    'tctl nodes add --ttl=5m --roles=node',
    "token=$(tctl nodes add --format=json | jq -r '.[0]')",
  );
  examples(
    nodes
      .command('ls')
      .description('The hosts that are there.')
      .option('--format <format>', 'text, json or yaml', 'text')
      .action(async (flags) => (await import('./nodes.ts')).listNodes(config(), flags)),
    'tctl nodes ls',
  );

  const tokens = tctl.command('tokens').description('Tokens by which hosts join.');
  examples(
    tokens
      .command('add')
      .description('Create a token.')
      .requiredOption('--type <list>', 'what a host may join as: node, proxy, auth', commaList)
      .option('--ttl <duration>', 'how long it works', '1h')
      .option('--value <text>', 'this token instead of 16 random bytes in hex')
      .option('--labels <pairs>', 'KEY=VALUE,… every host that joins with it gets')
      .option('--uses <count>', 'how many hosts may join with it (default: any number)', count)
      .option('--format <format>', 'text or json', 'text')
      .action(async ({ type, ...flags }) =>
        (await import('./nodes.ts')).addToken(config(), { ...flags, roles: type }),
      ),
    'tctl tokens add --type=node,proxy --ttl=10m',
  );
  examples(
    tokens
      .command('ls')
      .description('List tokens; masked unless asked for.')
      .option('--with-secrets', 'show the tokens themselves', false)
      .option('--format <format>', 'text, json or yaml', 'text')
      .action(async (flags) => (await import('./nodes.ts')).listTokens(config(), flags)),
    'tctl tokens ls',
    'tctl tokens ls --with-secrets',
  );
  examples(
    tokens
      .command('rm')
      .description('Delete a token: nobody joins with it any more.')
      .argument('<token>', 'the token itself')
      .action(async (token) => (await import('./nodes.ts')).removeToken(config(), token)),
    'tctl tokens rm abcd123-insecure-do-not-use-this',
  );

  examples(
    tctl
      .command('lock')
      .description('Shut somebody out within seconds, live sessions included.')
      .option('--user <name>', 'a user')
      .option('--role <name>', 'everybody with a role')
      .option('--login <name>', 'a host account, on every node')
      .option('--node <uuid>', 'a node: its sessions, and its place in the cluster')
      .option('--mfa-device <uuid>', 'a second factor')
      .option('--message <text>', 'shown to whoever is locked')
      .option(
        '--issued-before <time>',
        'only certificates made before it (now, or 2026-01-31T12:00:00Z): who logs in anew goes on',
      )
      .option('--ttl <duration>', 'how long (default: until it is removed)')
      .action(async (flags) => (await import('./locks.ts')).lockAction(config(), flags)),
    'tctl lock --user=alice --message="laptop stolen" --ttl=24h',
    'tctl lock --user=alice --issued-before=now --ttl=30h',
    'tctl get locks',
    'tctl rm lock/UUID',
  );

  const sessions = tctl.command('sessions').description('Live sessions of the cluster.');
  examples(
    sessions
      .command('ls')
      .description('List the live sessions: whose, where, who has joined them, who is awaited.')
      .option('--format <format>', 'text, json or yaml', 'text')
      .action(async (flags) => (await import('./sessions.ts')).sessionsAction(config(), flags)),
    'tctl sessions ls',
    'tctl sessions ls --format=json | jq \'.[] | select(.spec.state == "pending")\'',
  );

  const auth = tctl.command('auth').description("The cluster's certificate authorities.");
  examples(
    auth
      .command('sign')
      .description(
        'Issue a short-lived certificate: a key, its certificate and a known_hosts line, for OpenSSH.',
      )
      .requiredOption('--user <name>', 'user to issue it for')
      .requiredOption(
        '-o, --out <prefix>',
        'writes PREFIX (private key), PREFIX-cert.pub, PREFIX-known_hosts',
      )
      .option('--ttl <duration>', 'how long it lives: 30m, 12h (default: 12h, or what the roles allow)')
      .option('--format <format>', 'openssh', 'openssh')
      .option('--overwrite', 'replace files that are there', false)
      .action(async (flags) => (await import('./auth-sign.ts')).signAction(config(), flags)),
    'tctl auth sign --user=alice --out=alice --ttl=1h',
    'ssh -i alice -o UserKnownHostsFile=alice-known_hosts -p 3022 root@host',
  );
  examples(
    auth
      .command('export')
      .description('Print public keys of the certificate authorities.')
      .option(
        '--type <type>',
        'host (known_hosts line), user (authorized_keys line), openssh (TrustedUserCAKeys line), tls-host, tls-user (PEM); default: host and user',
      )
      .option('--fingerprint', 'print SHA256 fingerprints instead', false)
      .action(async (flags) => (await import('./auth-export.ts')).exportAction(config(), flags)),
    'tctl auth export --type=host >> ~/.ssh/known_hosts',
    'tctl auth export --type=openssh > /etc/ssh/teleport_user_ca.pub',
  );

  examples(
    auth
      .command('rotate')
      .description('Replace the keys of an authority, phase by phase, with nobody locked out.')
      .requiredOption('--phase <phase>', 'init, update_clients, update_servers, standby, or rollback')
      .option('--type <type>', 'host, user or all', 'all')
      .option('--format <format>', 'text or json', 'text')
      .action(async (flags) => (await import('./auth-export.ts')).rotateAction(config(), flags)),
    'tctl auth rotate --phase=init --type=host',
    'tctl auth rotate --phase=rollback',
  );

  const sso = tctl.command('sso').description('Log-in by identity providers: connectors.');
  const configure = sso.command('configure').description('Print a connector, for `tctl create -f`.');
  examples(
    configure
      .command('oidc')
      .description('A provider that speaks OpenID Connect.')
      .option('--name <name>', 'what `tsh login --auth` calls it (default: oidc)')
      .requiredOption('--issuer-url <url>', 'where its discovery document is')
      .requiredOption('--id <id>', 'client id, as registered there')
      .requiredOption('--secret <secret>', 'client secret')
      .requiredOption(
        '-r, --claims-to-roles <claim,value,role…>',
        'who gets which roles; may be given again',
        collect,
        [],
      )
      .option('--redirect-url <url>', "where it sends people back (default: this cluster's proxy)")
      .option('--display <text>', 'what log-in pages call it')
      .option('--scope <list>', 'what to ask for, beside openid (default: profile,email)', commaList)
      .option('--username-claim <claim>', "the claim that is the user's name (default: email)")
      .option('--allow-unverified-email', 'believe addresses the provider has not verified', false)
      .action(async (flags) => (await import('./sso.ts')).configureOidcAction(config(), flags)),
    'tctl sso configure oidc --name=okta --issuer-url=https://dev-1.okta.com --id=ID --secret=SECRET -r groups,admins,editor,access > okta.yaml',
  );
  examples(
    configure
      .command('github')
      .description('GitHub, or GitHub Enterprise Server.')
      .option('--name <name>', 'what `tsh login --auth` calls it (default: github)')
      .requiredOption('--id <id>', 'client id of the OAuth app')
      .requiredOption('--secret <secret>', 'client secret')
      .requiredOption(
        '-r, --teams-to-roles <org,team,role…>',
        'who gets which roles; may be given again',
        collect,
        [],
      )
      .option('--redirect-url <url>', "where it sends people back (default: this cluster's proxy)")
      .option('--display <text>', 'what log-in pages call it')
      .option('--endpoint-url <url>', 'of GitHub Enterprise Server')
      .option('--api-endpoint-url <url>', 'its API (default: /api/v3 there)')
      .action(async (flags) => (await import('./sso.ts')).configureGithubAction(config(), flags)),
    'tctl sso configure github --id=ID --secret=SECRET -r acme,ops,access > github.yaml',
  );
  examples(
    sso
      .command('test')
      .description(
        'Log in by a connector that is not written yet, and see what it would give. Nobody is logged in by it.',
      )
      .argument('<file>', 'the connector, as YAML')
      .action(async (file) => (await import('./sso.ts')).testAction(config(), file)),
    'tctl sso test okta.yaml && tctl create -f okta.yaml',
  );

  examples(
    tctl
      .command('get')
      .description('Print resources as YAML: what `tctl create -f` takes back.')
      .argument(
        '<resource>',
        'a kind (users, roles, tokens, locks, nodes, proxies, cas, oidc, github) or KIND/NAME',
      )
      .option('--with-secrets', 'show tokens and client secrets themselves', false)
      .option('--format <format>', 'yaml or json', 'yaml')
      .action(async (resource, flags) =>
        (await import('./resources.ts')).getAction(config(), resource, flags),
      ),
    'tctl get roles',
    'tctl get role/access > role.yaml',
  );
  examples(
    tctl
      .command('create')
      .description('Create resources from YAML.')
      .argument('[file]', 'file with one or more documents; stdin when left out or "-"')
      .option('-f, --force', 'replace what is there already', false)
      .action(async (file, flags) => (await import('./resources.ts')).createAction(config(), file, flags)),
    'tctl create role.yaml',
    'tctl create -f role.yaml',
    'tctl get role/ops | sed s/throttle/strict/ | tctl create -f',
  );
  examples(
    tctl
      .command('edit')
      .description("Edit a resource in $EDITOR. Nobody's change in between is overwritten.")
      .argument('<resource>', 'KIND/NAME')
      .action(async (resource) => (await import('./resources.ts')).editAction(config(), resource)),
    'tctl edit role/access',
  );
  examples(
    tctl
      .command('rm')
      .description('Delete a resource.')
      .argument('<resource>', 'KIND/NAME: user/alice, role/ops, lock/UUID, token/…, node/UUID')
      .action(async (resource) => (await import('./resources.ts')).removeAction(config(), resource)),
    'tctl rm role/ops',
  );
  examples(
    tctl
      .command('status')
      .description('Name, version and certificate authorities of the cluster.')
      .option('--format <format>', 'text or json', 'text')
      .action(async (flags) => (await import('./status.ts')).statusAction(config(), flags)),
    'tctl status',
  );
  examples(
    tctl
      .command('version')
      .description('Print the version.')
      .action(async () => (await import('../version.ts')).versionAction('tctl')),
    'tctl version',
  );
  examples(
    tctl
      .command('completion')
      .description('Print a completion script for a shell.')
      .argument('<shell>', 'bash, zsh or fish')
      .action(async (shell) => (await import('../completion.ts')).completionAction(tctl, shell)),
    'tctl completion bash > /etc/bash_completion.d/tctl',
  );
  return tctl;
}

function collect(value: string, previous: readonly string[]): string[] {
  return [...previous, value];
}

function count(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('a whole number above 0 was expected.');
}

if (import.meta.main) await run(tctlProgram());
