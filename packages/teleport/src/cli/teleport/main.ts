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
      .option(
        '--drain-timeout <duration>',
        'after a reload: how long sessions of the daemon before may go on',
        '30h',
      )
      .option('--ready-timeout <duration>', 'at a reload: how long the new daemon may need to serve', '1m')
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
      .option('--public-addr <host:port>', 'run the proxy too, reached by this name')
      .option('--cert-file <file>', "the proxy's certificate chain, PEM")
      .option('--key-file <file>', "the proxy's private key, PEM")
      .option('--acme', 'write the keys of ACME, which this version accepts and does not act on')
      .option('--acme-email <address>', 'contact for the ACME authority')
      .option('-o, --output <where>', 'stdout, file (/etc/teleport.yaml) or a path', 'stdout')
      .option(
        '--test <file>',
        'print nothing new: check that file, with line and column of each mistake and warning',
      )
      .action(async (flags) => (await import('./configure.ts')).configureAction(flags)),
    'teleport configure --cluster-name=prod',
    'teleport configure --cluster-name=prod --output=file',
    'teleport configure --public-addr=proxy.example.com:443 --cert-file=/etc/tls/cert.pem --key-file=/etc/tls/key.pem',
    'teleport configure -o ./teleport.yaml',
    'teleport configure --test=/etc/teleport.yaml',
  );

  examples(
    teleport
      .command('reload')
      .description(
        'Put the configuration and the program on disk into service. Live sessions stay with the old daemon until they end.',
      )
      .option('--pid-file <file>', 'where the daemon wrote its process id', '/run/teleport.pid')
      .option('--timeout <seconds>', 'how long to wait for the new daemon', '75')
      .action(async (flags) => (await import('./reload-command.ts')).reloadAction(flags)),
    'teleport reload',
    'teleport reload --pid-file=/run/teleport.pid',
  );

  const install = teleport.command('install').description('Make this host run the daemon.');
  examples(
    install
      .command('systemd')
      .description('Print the systemd unit of the daemon, or write it to a file.')
      .option('-o, --output <file>', 'where to write it (default: stdout)')
      .option('--config <file>', 'configuration file of the daemon', '/etc/teleport.yaml')
      .option('--pid-file <file>', 'where the daemon writes its process id', '/run/teleport.pid')
      .option('--env-file <file>', 'variables for the daemon; may be missing', '/etc/default/teleport')
      .option('--fd-limit <number>', 'files the daemon may have open', '524288')
      .option('--teleport-path <path>', 'the program to start (default: this one)')
      .action(async (flags) => (await import('./install-systemd.ts')).installSystemdAction(flags)),
    'teleport install systemd',
    'teleport install systemd -o /etc/systemd/system/teleport.service',
  );

  examples(
    teleport
      .command('doctor')
      .description(
        'Can this host record sessions in the kernel, by which hooks, and which ways around the record does it leave open? Exits 1 when a needed condition fails.',
      )
      .option(
        '-c, --config <file>',
        'configuration whose databases are asked (default: as for `teleport start`)',
      )
      .option('--format <format>', 'text or json', 'text')
      .action(async (flags) => (await import('./doctor.ts')).doctorAction(flags)),
    'teleport doctor',
    'teleport doctor -c /etc/teleport.yaml',
    "teleport doctor --format=json | jq '.conditions[] | select(.ok | not)'",
    "teleport doctor --format=json | jq -r '.hardening[] | select(.closed | not) | .fix'",
  );

  const backend = teleport.command('backend').description('Where an auth service keeps its state.');
  examples(
    backend
      .command('clone')
      .description(
        'Copy the state of a cluster into another store, and compare the two. The way from SQLite to PostgreSQL; the auth service must be stopped.',
      )
      .requiredOption('-c, --config <file>', 'clone.yaml: src, dst, parallel, force, audit_events')
      .action(async (flags) => (await import('./backend-clone.ts')).cloneAction(flags)),
    'teleport backend clone -c clone.yaml',
  );

  const node = teleport.command('node').description('Hosts that join a cluster.');
  examples(
    node
      .command('configure')
      .description(
        'Print the teleport.yaml of a node that joins a cluster with a token, or write it to a file.',
      )
      .requiredOption('--token <token>', 'token of `tctl nodes add`, or the path of a file holding it')
      .option('--proxy <host:port>', 'proxy of the cluster: works behind NAT, too')
      .option('--auth-server <host:port>', 'auth service of the cluster, instead of a proxy')
      .option('--ca-pin <hash>', 'pin of the cluster (`tctl status`)', commaList)
      .option('--labels <pairs>', 'labels of this node: env=prod,rack=7', commaList)
      .option('--nodename <name>', 'name of this host')
      .option('--data-dir <path>', 'where keys, events and recordings are kept')
      .option('--enhanced-recording', 'record commands, files and connections as the kernel sees them')
      .option('-o, --output <where>', 'stdout, file (/etc/teleport.yaml) or a path', 'stdout')
      .action(async (flags) => (await import('./configure.ts')).nodeConfigureAction(flags)),
    'teleport node configure --proxy=proxy.example.com:443 --token=TOKEN --ca-pin=sha256:… --output=file',
    'teleport node configure --proxy=proxy.example.com:443 --token=/run/join-token --labels=env=prod --enhanced-recording',
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
