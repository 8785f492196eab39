// `postgresql://user:password@host:port/database?sslmode=verify-full` → where a database is and how to reach it.
// Strict: a parameter we would ignore is a mistake, since the operator relied on it.
import { nearestKey } from './nearest-key.ts';

/** `disable`: no TLS. `require`: TLS with whoever answers. `verify-ca`, `verify-full`: as libpq has them. */
export type SslMode = 'disable' | 'require' | 'verify-ca' | 'verify-full';

export interface PostgresAddress {
  /** A name, an address, or the folder of a unix socket (it begins with `/`). */
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** Absent: `$PGPASSFILE` or ~/.pgpass is asked, then the server may refuse. */
  readonly password: string | undefined;
  readonly database: string;
  readonly sslMode: SslMode;
  /** PEM files. Without `sslrootcert` the authorities of the system count. */
  readonly sslRootCert: string | undefined;
  readonly sslCert: string | undefined;
  readonly sslKey: string | undefined;
  /** Connections at most, for each thing that is kept there. */
  readonly poolMaxConnections: number | undefined;
}

export type ParsedPostgresUri =
  | { readonly ok: true; readonly address: PostgresAddress }
  | { readonly ok: false; readonly problem: string };

const sslModes: readonly SslMode[] = ['disable', 'require', 'verify-ca', 'verify-full'];
const known = ['host', 'port', 'user', 'sslmode', 'sslrootcert', 'sslcert', 'sslkey', 'pool_max_conns'];
const defaultPort = 5432;

export function parsePostgresUri(text: string): ParsedPostgresUri {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^postgres(ql)?:$/.test(url.protocol))
    return fail('must be postgresql://USER@HOST/DATABASE?sslmode=verify-full');
  if (url.hash !== '') return fail(`"${url.hash}" is not understood; retention is storage.retention_period`);
  const query = url.searchParams;
  const unknown = [...query.keys()].find((name) => !known.includes(name));
  if (unknown !== undefined) {
    const near = nearestKey(unknown, known);
    return fail(`unknown parameter "${unknown}"${near === undefined ? '' : `; did you mean "${near}"?`}`);
  }
  try {
    return read(url, query);
  } catch {
    return fail('holds a % that begins no escape; write %25 for the sign itself');
  }
}

/** For log lines and error messages: never the password. */
export function showPostgresAddress({ host, port, user, database }: PostgresAddress): string {
  const where = host.startsWith('/') ? host : `${host.includes(':') ? `[${host}]` : host}:${port}`;
  return `postgresql://${user}@${where}/${database}`;
}

function read(url: URL, query: URLSearchParams): ParsedPostgresUri {
  const host = query.get('host') ?? decodeURIComponent(url.hostname.replace(/^\[(.*)\]$/, '$1'));
  if (host === '') return fail('names no host; a unix socket is ?host=/var/run/postgresql');
  if (host.includes(',')) return fail('names several hosts; give the one address that leads to the primary');
  const user = query.get('user') ?? decodeURIComponent(url.username);
  if (user === '') return fail('names no user');
  const database = decodeURIComponent(url.pathname.slice(1));
  if (database === '' || database.includes('/'))
    return fail('names no database: postgresql://USER@HOST/DATABASE');
  const port = Number(query.get('port') ?? (url.port || defaultPort));
  if (!Number.isInteger(port) || port < 1 || port > 65_535) return fail('holds a port that is none');
  const local = host.startsWith('/');
  const sslMode = query.get('sslmode') ?? (local ? 'disable' : 'verify-full');
  if (!isSslMode(sslMode))
    return fail(
      `sslmode must be one of ${sslModes.join(', ')}, not "${sslMode}": others may go without TLS unasked`,
    );
  const files = {
    sslRootCert: query.get('sslrootcert'),
    sslCert: query.get('sslcert'),
    sslKey: query.get('sslkey'),
  };
  for (const [name, path] of Object.entries(files))
    if (path !== null && !path.startsWith('/') && path !== 'system')
      return fail(`${name.toLowerCase()} must be an absolute path`);
  if ((files.sslCert === null) !== (files.sslKey === null)) return fail('sslcert and sslkey belong together');
  const pool = query.get('pool_max_conns');
  if (pool !== null && !/^([2-9]|[1-9]\d{1,2})$/.test(pool)) return fail('pool_max_conns must be 2 to 999');
  return {
    ok: true,
    address: {
      host,
      port,
      user,
      password: url.password === '' ? undefined : decodeURIComponent(url.password),
      database,
      sslMode,
      sslRootCert: files.sslRootCert === 'system' ? undefined : (files.sslRootCert ?? undefined),
      sslCert: files.sslCert ?? undefined,
      sslKey: files.sslKey ?? undefined,
      poolMaxConnections: pool === null ? undefined : Number(pool),
    },
  };
}

function isSslMode(text: string): text is SslMode {
  return (sslModes as readonly string[]).includes(text);
}

function fail(problem: string): ParsedPostgresUri {
  return { ok: false, problem };
}
