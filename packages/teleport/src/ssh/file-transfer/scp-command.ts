// Whether a command is the far end of OpenSSH's `scp -O`, as its client words it: `scp [-r] [-p] [-d] [-v] -t|-f PATH`.

export interface ScpCommand {
  readonly action: 'upload' | 'download';
  /** As the account's shell is given it: quoted, perhaps with wildcards. */
  readonly path: string;
  /** PATH must be a folder: names go into it. */
  readonly intoFolder: boolean;
}

/** What would let a shell run anything besides, or send the streams elsewhere. */
const moreThanOneCommand = /[;&|<>()`\n\r]|\$\(/;

/**
 * undefined: it is not, or not that alone; then it is a command like any other, recorded with all it puts out. Here
 * nothing is guessed: what passes of a copy's files is not recorded.
 */
export function parseScpCommand(command: string): ScpCommand | undefined {
  if (moreThanOneCommand.test(command)) return undefined;
  const found = /^(?:\/usr\/bin\/)?scp((?: +-[a-zA-Z]+)+) +(?:-- +)?(\S.*)$/.exec(command);
  if (!found) return undefined;
  const flags = new Set((found[1] ?? '').replaceAll(/[ -]/g, ''));
  if (flags.has('t') === flags.has('f')) return undefined;
  if ([...flags].some((flag) => !'rpdvqtf'.includes(flag))) return undefined;
  return {
    action: flags.has('t') ? 'upload' : 'download',
    path: unquoted(found[2] ?? ''),
    intoFolder: flags.has('d'),
  };
}

/**
 * For whoever may not copy: broad, since a person with a shell finds other ways, and one without should find no
 * spelling. Anything that names scp with one of its two server flags, or an sftp server.
 */
export function copiesFiles(command: string): boolean {
  const words = command.replaceAll(/["'\\]/g, '').split(/[\s;&|<>()`=$]+/);
  const at = words.findIndex((word) => /(^|\/)scp$/.test(word));
  if (at >= 0 && words.slice(at + 1).some((word) => /^-[a-zA-Z]*[tf]/.test(word))) return true;
  return words.some((word) => /(^|\/)(sftp-server|internal-sftp)$/.test(word));
}

/** As a shell reads the plain cases; one with a variable or a wildcard is left as it was written. */
function unquoted(path: string): string {
  if (/[$*?[\]{}]/.test(path)) return path;
  return path.replaceAll(/\\(.)|'([^']*)'|"([^"]*)"/g, (_, escaped, single, double) =>
    String(escaped ?? single ?? double ?? ''),
  );
}
