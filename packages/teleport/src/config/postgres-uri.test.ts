import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePostgresUri, showPostgresAddress } from './postgres-uri.ts';

function parse(uri: string) {
  const parsed = parsePostgresUri(uri);
  assert.ok(parsed.ok, `${uri} ${'problem' in parsed && parsed.problem}`);
  return parsed.address;
}

const problem = (uri: string) => {
  const parsed = parsePostgresUri(uri);
  return parsed.ok ? undefined : parsed.problem;
};

test('a database by TCP is reached with TLS and its name checked, unless said otherwise', () => {
  const address = parse('postgresql://tele%40port:p%2Fw@db.example.com:6432/teleport_backend');
  assert.deepEqual(
    { ...address },
    {
      host: 'db.example.com',
      port: 6432,
      user: 'tele@port',
      password: 'p/w',
      database: 'teleport_backend',
      sslMode: 'verify-full',
      sslRootCert: undefined,
      sslCert: undefined,
      sslKey: undefined,
      poolMaxConnections: undefined,
    },
  );
  assert.equal(parse('postgres://u@h/d?sslmode=disable').sslMode, 'disable');
});

test('a unix socket is a folder for host, and needs no TLS', () => {
  const { host, port, sslMode } = parse('postgresql://u@localhost/d?host=/var/run/postgresql');
  assert.deepEqual([host, port, sslMode], ['/var/run/postgresql', 5432, 'disable']);
  assert.equal(parse('postgresql:///d?host=/run/pg&user=u').user, 'u');
});

test('certificates are files by absolute path; those of the system have a name', () => {
  const { sslRootCert, sslCert, sslKey } = parse('postgresql://u@h/d?sslrootcert=/ca&sslcert=/c&sslkey=/k');
  assert.deepEqual([sslRootCert, sslCert, sslKey], ['/ca', '/c', '/k']);
  assert.equal(parse('postgresql://u@h/d?sslrootcert=system').sslRootCert, undefined);
  assert.match(problem('postgresql://u@h/d?sslrootcert=ca.pem') ?? '', /absolute path/);
  assert.match(problem('postgresql://u@h/d?sslcert=/c') ?? '', /belong together/);
});

test('what is shown of it holds no password', () => {
  assert.equal(showPostgresAddress(parse('postgresql://u:secret@[::1]/d')), 'postgresql://u@[::1]:5432/d');
  assert.equal(
    showPostgresAddress(parse('postgresql://u:secret@localhost/d?host=/run')),
    'postgresql://u@/run/d',
  );
});

test('what would be ignored or is missing is called a mistake', () => {
  const mistakes: [uri: string, words: RegExp][] = [
    ['mysql://u@h/d', /must be postgresql/],
    ['u@h/d', /must be postgresql/],
    ['postgresql://u@h', /names no database/],
    ['postgresql://h/d', /names no user/],
    ['postgresql://u@a,b/d', /several hosts|must be postgresql/],
    ['postgresql://u@h/d?host=a,b', /several hosts/],
    ['postgresql://u@h/d#retention_period=8766h', /storage.retention_period/],
    ['postgresql://u@h/d?target_session_attrs=primary', /unknown parameter/],
    ['postgresql://u@h/d?sslmode=verify_full', /sslmode must be one of/],
    ['postgresql://u@h/d?pool_max_conns=1', /pool_max_conns/],
    ['postgresql://u@h/d?port=0', /port/],
    ['postgresql://u:%zz@h/d', /%25/],
  ];
  for (const [uri, words] of mistakes) assert.match(problem(uri) ?? 'none', words, uri);
});
