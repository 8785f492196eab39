// The `tsh` command: the client. Log-in through a proxy is not part of this version; until then OpenSSH's own client
// does the work, with what `tctl auth sign` writes.
import { examples, program, run } from '../output.ts';

export function tshProgram() {
  const tsh = program(
    'tsh',
    'The client. In this version: log in with ssh and the files of `tctl auth sign`.',
  );
  examples(
    tsh
      .command('version')
      .description('Print the version.')
      .action(async () => (await import('../version.ts')).versionAction('tsh')),
    'tsh version',
  );
  return tsh;
}

if (import.meta.main) await run(tshProgram());
