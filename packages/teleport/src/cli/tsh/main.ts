// The `tsh` command: the client. Only the command tree is here; each action loads its own code, so that --help
// answers at once.
import { InvalidArgumentError } from 'commander';
import { examples, program, run } from '../output.ts';

export function tshProgram() {
  const tsh = program('tsh', 'Log in to a cluster and reach its nodes.');
  // `tsh ssh node ls -l`: what follows the node belongs to its command.
  tsh.enablePositionalOptions();
  const proxyFlag = [
    '--proxy <host[:port]>',
    'web address of the proxy (default: that of the last log-in)',
  ] as const;

  examples(
    tsh
      .command('login')
      .description('Log in: password and second factor for short-lived certificates.')
      .option(...proxyFlag)
      .option('--user <name>', 'user of the cluster (default: the local user)')
      .option('--ttl <duration>', 'life of the certificates: 30m, 8h; a bare number is minutes')
      .option(
        '--ca-pin <pin>',
        "pin of the cluster's authority (`tctl status`), when no public one vouches for the proxy",
      )
      .option('--insecure', 'do not check the certificate of the proxy (development only)', false)
      .option(
        '--auth <way>',
        'local (here), browser, passwordless (a passkey, in the browser), or the name of an identity provider; default: as the cluster is set up',
      )
      .option('--browser <program>', 'none: print the address, open nothing')
      .option('--add-keys-to-agent <when>', 'auto, yes or no', 'auto')
      .option('--format <format>', 'text or json', 'text')
      .action(async (flags) => (await import('./login.ts')).loginAction(flags)),
    'tsh login --proxy=teleport.example.com --user=alice',
    'tsh login --proxy=teleport.example.com:443 --user=alice --ttl=2h',
    'tsh login --proxy=teleport.example.com --user=alice --auth=browser',
    'tsh login --proxy=teleport.example.com --auth=okta',
    'tsh login --proxy=teleport.example.com --auth=passwordless',
    'tsh login --proxy=teleport.example.com --auth=github --browser=none',
  );
  examples(
    tsh
      .command('logout')
      .description('Remove keys and certificates, here and from the agent.')
      .option(...proxyFlag)
      .action(async (flags) => (await import('./status.ts')).logoutAction(flags)),
    'tsh logout',
  );
  examples(
    tsh
      .command('status')
      .description('Who you are, where, and until when.')
      .option(...proxyFlag)
      .option('--format <format>', 'text or json', 'text')
      .action(async (flags) => (await import('./status.ts')).statusAction(flags)),
    'tsh status',
    'tsh status --format=json | jq -r .valid_until',
  );
  examples(
    tsh
      .command('ls')
      .description('List the nodes your roles allow.')
      .argument('[labels...]', 'KEY=VALUE, all of which must hold')
      .option(...proxyFlag)
      .option('--format <format>', 'text, json or names', 'text')
      .action(async (labels, flags) => (await import('./ls.ts')).lsAction(labels, flags)),
    'tsh ls',
    'tsh ls env=production,role=web',
    "tsh ls --format=json | jq -r '.[].spec.hostname'",
  );
  examples(
    tsh
      .command('ssh')
      .description("A shell on a node, or a command there. The exit code is the command's.")
      .argument('<target>', '[login@]node')
      .argument('[command...]', 'command and its arguments')
      .option(...proxyFlag)
      .option('-l, --login <name>', 'host account (default: the first of your logins)')
      .option('-p, --port <number>', 'SSH port of the node', portNumber)
      .option(
        '-L, --forward <[bind:]port:host:port>',
        'forward a local port to an address seen from the node',
        collect,
        [],
      )
      .option(
        '-R, --remote-forward <[bind:]port:host:port>',
        'forward a port of the node to an address seen from here',
        collect,
        [],
      )
      .option('-D, --dynamic-forward <[bind:]port>', 'SOCKS5 proxy that leads out at the node', collect, [])
      .option('-A, --forward-agent', 'lend your SSH agent to the session', false)
      .option('-t, --tty', 'a terminal for the command too')
      .option('-T, --no-tty', 'no terminal, not even for a shell')
      .option('-N, --no-remote-exec', 'run nothing: forward ports only')
      .passThroughOptions()
      .action(async (target, command, flags) =>
        (await import('./ssh-command.ts')).sshAction(target, command, {
          proxy: flags.proxy,
          login: flags.login,
          port: flags.port,
          local: flags.forward,
          remote: flags.remoteForward,
          dynamic: flags.dynamicForward,
          forwardAgent: flags.forwardAgent,
          tty: flags.tty,
          command: flags.remoteExec,
        }),
      ),
    'tsh ssh root@web-1',
    'tsh ssh web-1 uptime',
    'tsh ssh -L 8080:localhost:80 -N ubuntu@web-1',
  );
  examples(
    tsh
      .command('scp')
      .description('Copy files to nodes and from nodes.')
      .argument('<place...>', 'sources, then the target; on a node: [login@]node:path, wildcards included')
      .option(...proxyFlag)
      .option('-r, --recursive', 'folders with all that is in them', false)
      .option('-p, --preserve', 'keep times and permissions', false)
      .option('-P, --port <number>', 'SSH port of the node', portNumber)
      .option('-q, --quiet', 'no progress, also on a terminal', false)
      .option('--resume', 'go on where an earlier copy broke off', false)
      .action(async (places, flags) => (await import('./scp-command.ts')).scpAction(places, flags)),
    'tsh scp report.csv ubuntu@web-1:/srv/data/',
    "tsh scp 'web-1:/var/log/*.log' logs/",
    'tsh scp -r -p site/ web-1:/var/www',
    'tsh scp --resume web-1:backup.tar .',
  );
  examples(
    tsh
      .command('sftp')
      .description("Files of a node by hand: OpenSSH's sftp, through the proxy.")
      .argument('<target>', '[login@]node, with :path to begin there')
      .option(...proxyFlag)
      .option('-P, --port <number>', 'SSH port of the node', portNumber, 3022)
      .option('-b, --batch <file>', 'commands from a file; - reads them from standard input')
      .action(async (target, flags) => (await import('./sftp-command.ts')).sftpAction(target, flags)),
    'tsh sftp ubuntu@web-1',
    'tsh sftp -b commands.txt web-1:/srv',
  );
  examples(
    tsh
      .command('join')
      .description('Join a live session: see it, type into it, or moderate it, as your roles allow.')
      .argument('<sid>', 'id of the session, or the beginning of it')
      .option(...proxyFlag)
      .option('--mode <mode>', 'observer (see), peer (see and type), moderator (see, and end it)', 'observer')
      .action(async (sid, flags) => (await import('./join.ts')).joinAction(sid, flags)),
    'tsh join 4a7e9c31-5c1f-4b0e-9f57-2f0f3f4f6d10',
    'tsh join --mode=peer 4a7e',
    'tsh join --mode=moderator 4a7e',
  );
  const sessions = tsh.command('sessions').description('Live sessions.');
  examples(
    sessions
      .command('ls')
      .description('List the live sessions that are yours, or that you may join or see.')
      .option(...proxyFlag)
      .option('--format <format>', 'text, json or yaml', 'text')
      .action(async (flags) => (await import('./sessions.ts')).sessionsAction(flags)),
    'tsh sessions ls',
    "tsh sessions ls --format=json | jq -r '.[].metadata.name'",
  );
  examples(
    tsh
      .command('config')
      .description("Print an ssh_config with which OpenSSH's own client reaches the nodes.")
      .option(...proxyFlag)
      .option('-p, --port <number>', 'SSH port of the nodes', portNumber, 3022)
      .action(async (flags) => (await import('./openssh.ts')).configAction(flags)),
    'tsh config >> ~/.ssh/config',
    'ssh root@web-1.teleport.example.com',
  );
  const mfa = tsh
    .command('mfa')
    .description('Your second factors: authenticator apps, security keys, passkeys.');
  examples(
    mfa
      .command('ls')
      .description('List them.')
      .option(...proxyFlag)
      .option('--format <format>', 'text or json', 'text')
      .action(async (flags) => (await import('./mfa.ts')).mfaListAction(flags)),
    'tsh mfa ls',
  );
  examples(
    mfa
      .command('add')
      .description('Add one. Whoever has one already proves it first.')
      .option('--name <name>', 'what to call it')
      .option('--type <type>', 'totp or webauthn')
      .option('--allow-passwordless', 'a passkey that logs in by itself, with PIN or fingerprint', false)
      .option(...proxyFlag)
      .action(async (flags) => (await import('./mfa.ts')).mfaAddAction(flags)),
    'tsh mfa add --type=totp --name=phone',
    'tsh mfa add --type=webauthn --allow-passwordless --name=laptop',
  );
  examples(
    mfa
      .command('rm')
      .description('Remove one.')
      .argument('<name>', 'its name, or its id')
      .option(...proxyFlag)
      .action(async (name, flags) => (await import('./mfa.ts')).mfaRemoveAction(name, flags)),
    'tsh mfa rm phone',
  );
  const proxy = tsh.command('proxy').description('Connections through the proxy for other programs.');
  examples(
    proxy
      .command('ssh')
      .description("stdin and stdout become the node's SSH port: the ProxyCommand of `tsh config`.")
      .argument('<target>', '[login@]node[:port]')
      .option(...proxyFlag)
      .action(async (target, flags) => (await import('./openssh.ts')).proxySshAction(target, flags)),
    "ssh -o ProxyCommand='tsh proxy ssh %r@%h:%p' root@web-1",
  );
  examples(
    tsh
      .command('version')
      .description('Print the version.')
      .action(async () => (await import('../version.ts')).versionAction('tsh')),
    'tsh version',
  );
  examples(
    tsh
      .command('completion')
      .description('Print a completion script for a shell.')
      .argument('<shell>', 'bash, zsh or fish')
      .action(async (shell) => (await import('../completion.ts')).completionAction(tsh, shell)),
    'tsh completion bash > /etc/bash_completion.d/tsh',
  );
  return tsh;
}

function collect(value: string, previous: readonly string[]): string[] {
  return [...previous, value];
}

function portNumber(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port > 0 && port < 65_536) return port;
  throw new InvalidArgumentError('a port is a number from 1 to 65535.');
}

if (import.meta.main) await run(tshProgram());
