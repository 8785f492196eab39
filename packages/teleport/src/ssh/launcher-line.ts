import { AppError, type ErrorKind } from '@sallyport/contracts/errors.ts';

/** What the launcher says, one line each; the format is drawn in report.c. */
export type LauncherLine =
  | {
      readonly word: 'ready';
      readonly leaderPid: number;
      readonly supervisorPid: number;
      readonly auditSessionId: number | undefined;
      readonly uid: number;
      readonly gid: number;
      readonly terminal: string | undefined;
      /** Descriptors of the supervisor: our ends of the leader's stdin, stdout, stderr. */
      readonly streams: readonly [number, number, number];
    }
  | { readonly word: 'warn'; readonly text: string }
  | { readonly word: 'error'; readonly error: AppError }
  | { readonly word: 'exec' }
  | { readonly word: 'exit'; readonly code: number }
  | { readonly word: 'signal'; readonly signal: string; readonly coreDumped: boolean };

/** Launcher and daemon are built together: a line that is not understood is our own bug. */
export function parseLauncherLine(line: string): LauncherLine {
  const [word, ...rest] = line.split(' ');
  switch (word) {
    case 'ready':
      return parseReady(rest);
    case 'warn':
      return { word, text: plainText(rest.join(' ')) };
    case 'error':
      return { word, error: launcherError(rest[0] ?? '', plainText(rest.slice(2).join(' '))) };
    case 'exec':
      return { word };
    case 'exit':
      return { word, code: Number(rest[0]) };
    case 'signal':
      return { word, signal: rest[0] ?? 'UNKNOWN', coreDumped: rest[1] === '1' };
  }
  throw new AppError('internal', 'launch.protocol', 'The launcher said something that is not understood.', {
    cause: new Error(line),
  });
}

function parseReady(fields: readonly string[]): LauncherLine {
  const number = (index: number): number => Number(fields[index]);
  return {
    word: 'ready',
    leaderPid: number(0),
    supervisorPid: number(1),
    auditSessionId: fields[2] === '-' ? undefined : number(2),
    uid: number(3),
    gid: number(4),
    terminal: fields[5] === '-' ? undefined : fields[5],
    streams: [number(6), number(7), number(8)],
  };
}

/** `\xHH`, made by report.c out of bytes that would break a line. */
function plainText(text: string): string {
  return text.replace(/\\x([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** Codes of fail() in the launcher. The rest (`resources`, `leader_failed`, …) is the host's trouble. */
const kinds: Readonly<Record<string, ErrorKind>> = {
  unknown_user: 'not_found',
  bad_spec: 'bad_input',
  nologin: 'denied',
  account_expired: 'denied',
  account_denied: 'denied',
  password_expired: 'denied',
  shell_missing: 'denied',
};

function launcherError(code: string, text: string): AppError {
  return new AppError(kinds[code] ?? 'unavailable', `launch.${code}`, text.trim());
}
