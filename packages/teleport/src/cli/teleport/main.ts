// The `teleport` command: the daemon and what prepares a host for it.
// Only the command tree is here; each action loads its own code, so that --help answers at once.
import { commaList, examples, program, run } from '../output.ts';

export function teleportProgram() {
  const teleport = program('teleport', 'SSH access with sessions recorded by the kernel: the daemon.');

  examples(
    teleport
      .command('start')
      .description('Run the services of this host: auth, SSH node, proxy.')
      .option(
        '-c, --config <file>',
        'configuration file (default: $TELEPORT_CONFIG_FILE, else /etc/teleport.yaml if it exists)',
      )
      .option('--roles <list>', 'services to run instead of those of the file: auth,node,proxy', commaList)
      .option('--nodename <name>', 'name of this host in the cluster')
      .option('--token <token>', 'token to join the cluster with, or the path of a file holding it')
      .option('--auth-server <host:port>', 'auth service of the cluster to join')
      .option('--ca-pin <hash>', 'pin of the cluster to join (`tctl status`)', commaList)
      .option('--pid-file <file>', "where to write the daemon's process id")
      .option('--diag-addr <host:port>', 'where to serve /healthz, /readyz and /metrics')
      .option('--insecure', 'development only: skip checks between services', false)
      .action(async (flags) => (await import('./start-flags.ts')).startAction(flags)),
    'teleport start',
    'teleport start -c /etc/teleport.yaml',
    'teleport start --roles=auth,node --nodename=web-1',
    'teleport start --roles=node --token=TOKEN --ca-pin=sha256:… --auth-server=auth.example.com:3025',
  );

  examples(
    teleport
      .command('configure')
      .description('Print a complete, commented teleport.yaml that loads as it is.')
      .option('--cluster-name <name>', 'name of the cluster')
      .option('--nodename <name>', 'name of this host')
      .option('--data-dir <path>', 'where keys, users, log and recordings are kept')
      .option('-o, --output <where>', 'stdout, file (/etc/teleport.yaml) or a path', 'stdout')
      .option(
        '--test <file>',
        'print nothing new: check that file, with line and column of each mistake and warning',
      )
      .action(async (flags) => (await import('./configure.ts')).configureAction(flags)),
    'teleport configure --cluster-name=prod',
    'teleport configure --cluster-name=prod --output=file',
    'teleport configure -o ./teleport.yaml',
    'teleport configure --test=/etc/teleport.yaml',
  );

  examples(
    teleport
      .command('doctor')
      .description(
        'Can this host record sessions in the kernel, and by which hooks? Exits 1 when a needed condition fails.',
      )
      .option('--format <format>', 'text or json', 'text')
      .action(async (flags) => (await import('./doctor.ts')).doctorAction(flags)),
    'teleport doctor',
    "teleport doctor --format=json | jq '.conditions[] | select(.ok | not)'",
  );

  examples(
    teleport
      .command('version')
      .description('Print the version.')
      .action(async () => (await import('../version.ts')).versionAction('teleport')),
    'teleport version',
  );

  examples(
    teleport
      .command('completion')
      .description('Print a completion script for a shell.')
      .argument('<shell>', 'bash, zsh or fish')
      .action(async (shell) => (await import('../completion.ts')).completionAction(teleport, shell)),
    'teleport completion bash > /etc/bash_completion.d/teleport',
  );
  return teleport;
}

if (import.meta.main) await run(teleportProgram());
