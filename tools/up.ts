/** `make up`: keeps a one-host cluster running until Ctrl-C and says how to log in. Its folder is kept. */
import { writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join, relative } from 'node:path';
import process from 'node:process';
import pc from 'picocolors';
import { OneHost, repository } from '../e2e/one-host.ts';

const say = (text: string) => process.stdout.write(`${text}\n`);
const folder = join(repository, '.build', 'up');
const here = (path: string) => relative(process.cwd(), path);

OneHost.stopOnSignal(() => {
  say(`\nStopping. ${here(folder)} keeps the audit log and the recordings.`);
  return 0;
});
process.once('beforeExit', async () => {
  console.error(`The daemon has ended by itself. Its log: ${here(join(folder, 'teleport.log'))}`);
  await cluster.stop();
  process.exit(1);
});
say('Starting a one-host cluster …');
const cluster = await OneHost.start({ folder, port: 3022, webPort: 3080 });

// The folder is kept: on a second run alice is there, and has perhaps signed up.
const added = await cluster.tctl('users', 'add', 'alice', '--logins=root', '--format=json');
const link = added.status === 0 ? (JSON.parse(added.stdout) as { invite_url: string }).invite_url : undefined;
const status = JSON.parse((await cluster.tctl('status', '--format=json')).stdout) as { ca_pins: string[] };
const identity = await cluster.identity('alice');

/** What `ssh -F` needs, so that logging in is one short line. */
const sshConfig = join(folder, 'ssh_config');
await writeFile(
  sshConfig,
  `Host demo
  HostName 127.0.0.1
  Port ${cluster.port}
  User root
  IdentityFile ${identity}
  CertificateFile ${identity}-cert.pub
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile ${identity}-known_hosts
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
`,
);

const tctl = `${here(join(repository, 'packages/teleport/bin/tctl'))} -c ${here(cluster.configPath)}`;
const tsh = here(join(repository, 'packages/teleport/bin/tsh'));
const login = `${tsh} login --proxy=127.0.0.1:${cluster.webPort} --user=alice --ca-pin=${status.ca_pins[0]}`;
say(`
${pc.bold('A one-host cluster runs')} on 127.0.0.1:${cluster.port}, in ${here(folder)}/. alice may log in as root for an hour.

  log-in URL   ${pc.cyan(link ?? `alice has one from before; anew: ${tctl} users reset alice`)}
  then         ${pc.cyan(login)}
               ${pc.cyan(`${tsh} ssh root@${hostname()}`)}
  or at once   ${pc.cyan(`ssh -F ${here(sshConfig)} demo`)}
  watch        ${pc.cyan(`tail -f ${here(cluster.eventsLog)} | jq -c 'select(.event == "session.command") | {user, path, argv}'`)}
  administer   ${pc.cyan(`${tctl} users ls`)}
  sign anew    ${pc.cyan(`${tctl} auth sign --user=alice --out=${here(identity)} --ttl=1h --overwrite`)}

The service's own log is ${here(cluster.daemonLog)}. Ctrl-C stops the cluster.`);
