/** `make up`: keeps a one-host cluster running until Ctrl-C and says how to log in. Its folder is kept. */
import { writeFile } from 'node:fs/promises';
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
const cluster = await OneHost.start({ folder, port: 3022 });
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
say(`
${pc.bold('A one-host cluster runs')} on 127.0.0.1:${cluster.port}, in ${here(folder)}/. alice may log in as root for an hour.

  log in       ${pc.cyan(`ssh -F ${here(sshConfig)} demo`)}
  watch        ${pc.cyan(`tail -f ${here(cluster.eventsLog)} | jq -c 'select(.event == "session.command") | {user, path, argv}'`)}
  administer   ${pc.cyan(`${tctl} users ls`)}
  sign anew    ${pc.cyan(`${tctl} auth sign --user=alice --out=${here(identity)} --ttl=1h --overwrite`)}

The service's own log is ${here(cluster.daemonLog)}. Ctrl-C stops the cluster.`);
