// The `tctl` command: administering a cluster, on its auth host.
// Only the command tree is here; each action loads its own code, so that --help answers at once.
import { commaList, examples, program, run } from '../output.ts';

export function tctlProgram() {
  const tctl = program(
    'tctl',
    'Administer the cluster. Runs on the auth host, as the user the daemon runs as.',
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
      .command('rm')
      .description('Delete users. Their certificates are refused from then on.')
      .argument('<names...>', 'names of the users')
      .action(async (names) => (await import('./users.ts')).removeUsers(config(), names)),
    'tctl users rm alice',
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
        'host (known_hosts line), user (authorized_keys line), openssh (TrustedUserCAKeys line); default: host and user',
      )
      .option('--fingerprint', 'print SHA256 fingerprints instead', false)
      .action(async (flags) => (await import('./auth-export.ts')).exportAction(config(), flags)),
    'tctl auth export --type=host >> ~/.ssh/known_hosts',
    'tctl auth export --type=openssh > /etc/ssh/teleport_user_ca.pub',
  );

  examples(
    tctl
      .command('get')
      .description('Print users or roles as YAML: what `tctl create -f` takes back.')
      .argument('<resource>', 'users, roles, user/NAME or role/NAME')
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
      .description('Create users and roles from YAML.')
      .argument('[file]', 'file with one or more documents; stdin when left out or "-"')
      .option('-f, --force', 'replace what is there already', false)
      .action(async (file, flags) => (await import('./resources.ts')).createAction(config(), file, flags)),
    'tctl create role.yaml',
    'tctl create -f role.yaml',
    'tctl get role/ops | sed s/throttle/strict/ | tctl create -f',
  );
  examples(
    tctl
      .command('rm')
      .description('Delete a user or a role.')
      .argument('<resource>', 'user/NAME or role/NAME')
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

if (import.meta.main) await run(tctlProgram());
