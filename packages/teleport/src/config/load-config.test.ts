import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { AppError } from '@sallyport/contracts/errors.ts';
import fc from 'fast-check';
import { defaultConfig, loadConfig, loadConfigFile, ringBytes } from './load-config.ts';
import { teleportYaml } from './teleport-yaml.ts';

const fixture = (name: string) => join(import.meta.dirname, 'fixtures', name);

function problems(text: string): string[] {
  try {
    loadConfig(text, 'f');
  } catch (error) {
    assert.ok(error instanceof AppError && error.code === 'config.invalid', String(error));
    return error.message.split('\n');
  }
  return [];
}

test('the file of the 4.2 guide loads as it is printed', async () => {
  const { config, warnings } = await loadConfigFile(fixture('guide-4.2.yaml'));
  assert.equal(config.version, 'v1');
  assert.equal(config.nodename, 'graviton-node');
  assert.deepEqual(config.join, { method: 'token', token: 'exampletoken' });
  assert.deepEqual(config.upstream, { kind: 'auth', addresses: [{ host: '127.0.0.1', port: 3025 }] });
  assert.deepEqual([config.auth.enabled, config.proxy.enabled, config.ssh.enabled], [false, false, true]);
  const { enabled, commandBufferPages, diskBufferPages, networkBufferPages, cgroupPath } =
    config.ssh.enhancedRecording;
  assert.deepEqual(
    { enabled, commandBufferPages, diskBufferPages, networkBufferPages, cgroupPath },
    {
      enabled: true,
      commandBufferPages: 8,
      diskBufferPages: 128,
      networkBufferPages: 8,
      cgroupPath: '/cgroup2',
    },
  );
  assert.deepEqual(warnings, []);
});

test('the file of the 17.x guide loads, uses the proxy, and says so with both line numbers', async () => {
  const { config, warnings } = await loadConfigFile(fixture('guide-17.yaml'));
  assert.equal(config.version, 'v3');
  assert.deepEqual(config.upstream, { kind: 'proxy', addresses: [{ host: '127.0.0.1', port: 3080 }] });
  assert.equal(config.ssh.enhancedRecording.rootPath, '/teleport');
  const both = warnings.find(({ code }) => code === 'both_upstreams');
  assert.match(
    both?.message ?? '',
    /auth_server \(line 5\) and proxy_server \(line 6\).*proxy_server is used/,
  );
});

test('every documented key is taken with its type', async () => {
  const { config } = await loadConfigFile(fixture('every-key.yaml'));
  assert.deepEqual(config.upstream.addresses, [
    { host: 'auth-1.example.com', port: 3025 },
    { host: '2001:db8::1', port: 4025 },
  ]);
  assert.deepEqual(config.join, { method: 'token', token: '0123' }, 'text stays as it was typed');
  assert.deepEqual(config.log, { output: '/var/log/teleport.log', severity: 'debug', format: 'json' });
  assert.equal(config.storage.retentionPeriodMs, 365 * 86_400_000);
  assert.deepEqual(config.auth.tokens, [{ roles: ['proxy', 'node'], secret: 'secret:with:colons' }]);
  assert.equal(config.auth.clientIdleTimeoutMs, 5_400_000);
  assert.deepEqual(config.ssh.listenAddr, { host: '0.0.0.0', port: 4022 });
  assert.deepEqual(config.ssh.labels, { env: 'prod', cores: '8' });
  assert.deepEqual(config.ssh.commands, [{ name: 'kernel', command: ['uname', '-r'], periodMs: 3_600_000 }]);
  assert.deepEqual(config.ssh.pam, {
    ...{ enabled: true, serviceName: 'teleport' },
    environment: { TEAM: 'team={{external.team}}' },
  });
  assert.equal(
    config.ssh.enhancedRecording.ringBytes,
    64 * 1024 * 1024,
    '12,288 pages rounded up to a power of two',
  );
  assert.deepEqual(config.proxy.publicAddrs, ['example.com:443']);
});

test('every key that nothing acts on yet is warned about, with its line', async () => {
  const { warnings } = await loadConfigFile(fixture('every-key.yaml'));
  const keys = warnings.filter(({ code }) => code === 'not_in_effect').map(({ key }) => key);
  for (const key of [
    'teleport.storage.audit_sessions_uri',
    'auth_service.session_recording',
    'proxy_service.acme',
  ])
    assert.ok(keys.includes(key), key);
  assert.ok(warnings.every(({ line, column }) => (line ?? 0) > 0 && (column ?? 0) > 0));
});

test('without a file all three services run at their documented ports', () => {
  const { config } = defaultConfig();
  assert.deepEqual([config.auth.enabled, config.ssh.enabled, config.proxy.enabled], [true, true, true]);
  const ports = [
    config.auth.listenAddr,
    config.ssh.listenAddr,
    config.proxy.listenAddr,
    config.proxy.tunnelListenAddr,
    config.proxy.webListenAddr,
  ];
  assert.deepEqual(
    ports.map(({ port }) => port),
    [3025, 3022, 3023, 3024, 3080],
  );
  assert.equal(config.dataDir, '/var/lib/teleport');
});

test('the configuration is frozen through and through', () => {
  const { config } = defaultConfig();
  assert.throws(() => Object.assign(config.ssh.enhancedRecording, { enabled: true }), TypeError);
  assert.throws(() => Object.assign(config.upstream.addresses, ['x']), TypeError);
});

const mistakes: [what: string, yaml: string, ...expected: string[]][] = [
  [
    'an unknown key',
    'ssh_service:\n  enhanced_recordng:\n    enabled: true\n',
    'f:2:3: unknown key "enhanced_recordng" in ssh_service; did you mean "enhanced_recording"?',
  ],
  [
    'a label’s command too often, without words, twice',
    'ssh_service:\n  commands:\n  - { name: a, command: [x], period: 100ms }\n  - { name: b }\n  - { name: a, command: [y] }\n',
    'f:2:3: ssh_service.commands: "a" is there twice',
    'f:2:3: ssh_service.commands: the period of "a" must be at least 1s',
    'f:2:3: ssh_service.commands: "b" has no command',
  ],
  [
    'a variable for PAM that can be none',
    'ssh_service:\n  pam:\n    environment: { "A B": x }\n',
    'f:3:5: ssh_service.pam.environment: "A B" cannot be the name of a variable',
  ],
  ['an unknown section', 'ssh_servce: {}', 'f:1:1: unknown key "ssh_servce"; did you mean "ssh_service"?'],
  ['a key like no other', 'teleport:\n  zebra: 1\n', 'f:2:3: unknown key "zebra" in teleport'],
  ['an inherited name', 'constructor: {}', 'f:1:1: unknown key "constructor"'],
  ['a section that is a list', 'teleport: [1]', 'f:1:11: teleport must be a section of keys'],
  [
    'text for a boolean',
    'ssh_service:\n  enabled: perhaps',
    'f:2:12: ssh_service.enabled must be true or false (or yes or no), not "perhaps"',
  ],
  ['a list for text', 'teleport:\n  nodename: [a]', 'f:2:13: teleport.nodename must be a name'],
  [
    'text for a number',
    'ssh_service:\n  enhanced_recording: {disk_buffer_size: many}',
    'f:2:42: ssh_service.enhanced_recording.disk_buffer_size must be a whole number, not "many"',
  ],
  [
    'an unknown word',
    'teleport:\n  log: {severity: warnin}',
    'f:2:19: teleport.log.severity must be one of debug, info, warn, error, not "warnin"; did you mean "warn"?',
  ],
  [
    'a bad address',
    'ssh_service:\n  listen_addr: 0.0.0.0:99999',
    'f:2:16: ssh_service.listen_addr must be host:port, not "0.0.0.0:99999"',
  ],
  [
    'a relative path',
    'teleport:\n  data_dir: var',
    'f:2:13: teleport.data_dir must be an absolute path, not "var"',
  ],
  [
    'a path that climbs',
    'ssh_service: {enhanced_recording: {root_path: /a/../../b}}',
    'f:1:47: ssh_service.enhanced_recording.root_path must not contain ".."',
  ],
  [
    'a bad duration',
    'auth_service:\n  client_idle_timeout: soon',
    'f:2:24: auth_service.client_idle_timeout must be a duration such as 30s or 1h30m, not "soon"',
  ],
  [
    'v3 keys in v2',
    'version: v2\nteleport:\n  proxy_server: a:1',
    'f:3:3: teleport.proxy_server is not a key of version v2: use auth_servers, or say version: v3',
  ],
  [
    'v2 keys in v3',
    'version: v3\nteleport:\n  auth_servers: [a:1]',
    'f:3:3: teleport.auth_servers is not a key of version v3: use auth_server or proxy_server',
  ],
  [
    'an unknown version',
    'version: v9',
    'f:1:10: version must be one of v1, v2, v3, not "v9"; did you mean "v1"?',
  ],
  [
    'a database without a string to reach it by',
    'teleport:\n  storage:\n    type: postgresql',
    'f:3:5: teleport.storage.type is postgresql, but teleport.storage.conn_string is not set',
  ],
  [
    'a string of no database',
    'teleport:\n  storage:\n    conn_string: postgresql://u@h/d',
    'f:3:5: teleport.storage.conn_string is set, but teleport.storage.type is sqlite',
  ],
  [
    'a parameter of the connection that would be ignored',
    'teleport:\n  storage: { type: postgresql, conn_string: "postgresql://u@h/d?sslmod=require" }',
    'f:2:45: teleport.storage.conn_string unknown parameter "sslmod"; did you mean "sslmode"?',
  ],
  [
    'a connection that may go without TLS unasked',
    'teleport:\n  storage: { type: postgresql, conn_string: "postgresql://u@h/d?sslmode=prefer" }',
    'f:2:45: teleport.storage.conn_string sslmode must be one of disable, require, verify-ca, verify-full, not "prefer": others may go without TLS unasked',
  ],
  [
    'places for events that are none, or not together',
    'teleport:\n  storage:\n    audit_events_uri: ["stdout://", "file://log", "stdout://"]\n    retention_period: 1h',
    'f:3:5: teleport.storage.audit_events_uri names a place twice',
    'f:3:5: teleport.storage.audit_events_uri: stdout:// cannot be searched, so another place comes first',
    'f:3:37: teleport.storage.audit_events_uri[1] must be file:///FOLDER, with three slashes and nothing behind the folder',
    'f:4:5: teleport.storage.retention_period must be at least 24h: whole days are dropped',
  ],
  [
    'a token without roles',
    'auth_service: {tokens: ["secret"]}',
    'f:1:16: auth_service.tokens: each token must be "roles:secret", such as "proxy,node:secret"',
  ],
];
for (const [what, yaml, ...expected] of mistakes) {
  test(`${what} is refused with its line and column`, () => assert.deepEqual(problems(yaml), expected));
}

test('severities are taken in every documented spelling', () => {
  for (const [given, read] of [
    ['INFO', 'info'],
    ['warning', 'warn'],
    ['ERR', 'error'],
    ['Debug', 'debug'],
  ]) {
    assert.equal(loadConfig(`teleport: {log: {severity: ${given}}}`).config.log.severity, read);
  }
  assert.match(problems('teleport: {log: {severity: constructor}}')[0] ?? '', /must be one of/);
});

test('a name that would break a line of known_hosts or the log is refused', () => {
  assert.deepEqual(problems('auth_service: {cluster_name: "a\\n@cert-authority * x"}'), [
    'f:1:30: auth_service.cluster_name must be a name of 1 to 255 characters without blanks',
  ]);
});

test('negative buffer sizes are refused in the documented words', () => {
  const sizes =
    'ssh_service:\n  enhanced_recording:\n    command_buffer_size: -1\n    disk_buffer_size: -2\n    network_buffer_size: -3\n';
  assert.deepEqual(problems(sizes), [
    'f:3:26: CommandBufferSize must not be negative',
    'f:4:23: DiskBufferSize must not be negative',
    'f:5:26: NetworkBufferSize must not be negative',
  ]);
});

test('all mistakes of a file are told at once, in its order', () => {
  const found = problems('teleport:\n  data_dir: x\n  nodenam: y\nssh_service:\n  enabled: 3\n');
  assert.deepEqual(
    found.map((line) => line.split(' ')[0]),
    ['f:2:13:', 'f:3:3:', 'f:5:12:'],
  );
});

test('a repeated key, a tab, an open quote are errors with a place', () => {
  assert.match(problems('teleport:\n  nodename: a\n  nodename: b\n')[0] ?? '', /^f:3:\d+: /);
  assert.match(problems('teleport:\n\tnodename: a\n')[0] ?? '', /^f:2:\d+: /);
  assert.match(problems('teleport: {nodename: "a')[0] ?? '', /^f:1:\d+: /);
});

test('empty sections, comments only and nothing at all mean the defaults', () => {
  for (const text of ['', '# nothing', 'teleport:\nssh_service:\n  enhanced_recording:\n', '---\n']) {
    assert.deepEqual(loadConfig(text).config, defaultConfig().config, JSON.stringify(text));
  }
});

test('aliases are followed, and a file of aliases to aliases costs nothing', () => {
  const { config } = loadConfig(
    'ssh_service:\n  labels: &l {a: b}\n  listen_addr: &addr 127.0.0.1:1\nproxy_service:\n  listen_addr: *addr\n',
  );
  assert.deepEqual(config.proxy.listenAddr, { host: '127.0.0.1', port: 1 });
  const bomb = [
    'a0: &a0 [x]',
    ...Array.from({ length: 30 }, (_, i) => `a${i + 1}: &a${i + 1} [*a${i}, *a${i}, *a${i}]`),
  ].join('\n');
  assert.match(problems(bomb)[0] ?? '', /unknown key "a0"/);
});

test('whatever the text, loading ends in a configuration or in a config error', () => {
  const words = fc.constantFrom(
    'teleport',
    'ssh_service',
    'enabled',
    'labels',
    'tokens',
    ':',
    ' ',
    '\n',
    '  ',
    '- ',
    '[',
    '{',
    '}',
    '*a',
    '&a ',
    '"',
    '!!int ',
    '<<',
    'null',
    '1',
    '|',
    '? ',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(words).map((parts) => parts.join('')),
      ),
      (text) => {
        try {
          return loadConfig(text).config.dataDir !== '';
        } catch (error) {
          return error instanceof AppError && error.kind === 'bad_input';
        }
      },
    ),
    { numRuns: 3000 },
  );
});

test('the ring is a power of two, no smaller than its floor, whatever is asked', () => {
  fc.assert(
    fc.property(fc.nat(3 * 1024 * 1024 * 1024), (asked) => {
      const bytes = ringBytes(asked);
      return (
        Number.isInteger(Math.log2(bytes)) && bytes >= 16 * 1024 * 1024 && bytes >= Math.min(asked, 1024 ** 3)
      );
    }),
  );
});

test('a named file that is not there is an error, and a missing default file is not', async () => {
  await assert.rejects(loadConfigFile('/nonexistent/teleport.yaml'), {
    code: 'config.unreadable',
    message: /no such file/,
  });
});

test('every key has a description, and none ends without a full stop', () => {
  const walk = (fields: typeof teleportYaml.fields, path: string): void => {
    for (const [name, field] of Object.entries(fields)) {
      if (!/[`.…]$/.test(field.doc) && !field.fields) assert.match(field.doc, /[.\w]$/, `${path}${name}`);
      assert.notEqual(field.doc, '', `${path}${name}`);
      if (field.fields) walk(field.fields, `${path}${name}.`);
    }
  };
  walk(teleportYaml.fields, '');
});

test('the fixture of every key is complete', async () => {
  const text = await readFile(fixture('every-key.yaml'), 'utf8');
  const names = (fields: typeof teleportYaml.fields): string[] =>
    Object.entries(fields).flatMap(([name, field]) => [name, ...(field.fields ? names(field.fields) : [])]);
  const missing = names(teleportYaml.fields).filter((name) => !text.includes(`${name}:`));
  assert.deepEqual(missing, ['auth_server', 'proxy_server'], 'which belong to version v3');
});

test('events in files beside a shared store are warned of, at their place', () => {
  const storage = (uris: string) => `version: v3
teleport:
  storage:
    type: postgresql
    conn_string: "postgresql://t@db.example.com/t"
    audit_events_uri: ${uris}
auth_service: {enabled: true, cluster_name: c}
`;
  const warned = (text: string) => loadConfig(text).warnings.filter(({ code }) => code === 'events_apart');
  const [warning] = warned(storage('["file:///var/log/t", "stdout://"]'));
  assert.equal(warning?.key, 'teleport.storage.audit_events_uri');
  assert.deepEqual([warning.line, warning.column], [6, 5]);
  assert.deepEqual(warned(storage('["file:///var/log/t", "postgresql://t@db.example.com/e"]')), []);
  assert.deepEqual(warned(storage('["file:///var/log/t"]').replace('enabled: true', 'enabled: false')), []);
  assert.deepEqual(warned('teleport: {storage: {audit_events_uri: "file:///var/log/t"}}'), []);
});
