// What PostgreSQL or the way to it says → AppError, and whether trying again can help.
// SQLSTATE codes: PostgreSQL documentation, appendix A.
import { AppError } from '@sallyport/contracts/errors.ts';

/** `soon`: another transaction was in the way. `later`: the database is away for a while. `never`: the same will happen again. */
export type Retry = 'soon' | 'later' | 'never';

export interface PostgresFailure {
  readonly retry: Retry;
  readonly error: AppError;
  /** Absent: the way to the server failed, not the server. */
  readonly sqlState: string | undefined;
}

/** `place` names the database as people may see it. */
export function failureOf(thrown: unknown, place: string): PostgresFailure {
  if (thrown instanceof AppError) return { retry: 'never', error: thrown, sqlState: undefined };
  const sqlState = sqlStateOf(thrown);
  const make = (
    retry: Retry,
    kind: 'unavailable' | 'internal',
    code: string,
    message: string,
    hint?: string,
  ) => ({
    retry,
    error: new AppError(kind, code, message, { cause: thrown, hint }),
    sqlState,
  });
  if (sqlState === undefined) {
    const why = thrown instanceof Error ? reasonOf(thrown) : 'unknown';
    if (isOfTls(thrown)) {
      const hint = 'See sslmode and sslrootcert of the connection string.';
      return make(
        'never',
        'unavailable',
        'postgres.tls',
        `No trusted TLS connection to ${place}: ${why}.`,
        hint,
      );
    }
    return make(
      'later',
      'unavailable',
      'postgres.unreachable',
      `The database ${place} does not answer: ${why}.`,
    );
  }
  if (sqlState === '40001' || sqlState === '40P01')
    return make(
      'soon',
      'unavailable',
      'postgres.contention',
      'Other transactions were in the way each time.',
    );
  if (sqlState === '57014' || sqlState === '55P03')
    return make('later', 'unavailable', 'postgres.timeout', `The database ${place} took too long.`);
  if (sqlState === '53100')
    return make('never', 'unavailable', 'postgres.disk_full', 'The disk of the database is full.');
  if (sqlState === '25006') {
    const hint =
      'It is a standby, or default_transaction_read_only is set: the connection string must lead to the primary.';
    return make('later', 'unavailable', 'postgres.read_only', `The database ${place} takes no writes.`, hint);
  }
  if (sqlState.startsWith('08') || sqlState.startsWith('57P') || sqlState.startsWith('53'))
    return make(
      'later',
      'unavailable',
      'postgres.unreachable',
      `The database ${place} is not ready: ${said(thrown)}.`,
    );
  if (sqlState.startsWith('28') || sqlState === '3D000' || sqlState === '42501') {
    const hint =
      'Check user, password and database of the connection string, pg_hba.conf, and the rights of the user.';
    return make(
      'never',
      'unavailable',
      'postgres.refused',
      `The database ${place} refuses: ${said(thrown)}.`,
      hint,
    );
  }
  return make(
    'never',
    'internal',
    'postgres.failed',
    `The database ${place} failed: ${said(thrown)} (${sqlState}).`,
  );
}

function sqlStateOf(thrown: unknown): string | undefined {
  const code = thrown instanceof Error && 'severity' in thrown && 'code' in thrown ? thrown.code : undefined;
  return typeof code === 'string' ? code : undefined;
}

/** The server's own words, which name objects and never hold a password. */
function said(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message.replaceAll('\n', ' ').replace(/\.$/, '') : 'unknown';
}

function reasonOf(error: Error): string {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  return code ?? said(error);
}

const tlsCode = /^(ERR_TLS|ERR_SSL|CERT_|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_|HOSTNAME_MISMATCH)/;

function isOfTls(thrown: unknown): boolean {
  if (!(thrown instanceof Error)) return false;
  const code = 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : '';
  return tlsCode.test(code) || /does not support SSL|establishing an SSL/.test(thrown.message);
}
