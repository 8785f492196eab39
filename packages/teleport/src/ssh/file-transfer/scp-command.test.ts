import assert from 'node:assert/strict';
import { test } from 'node:test';
import { copiesFiles, parseScpCommand } from './scp-command.ts';

test('knows the far end of a copy as OpenSSH words it', () => {
  assert.deepEqual(parseScpCommand('scp -t /tmp/x'), { action: 'upload', path: '/tmp/x', intoFolder: false });
  assert.deepEqual(parseScpCommand('scp -v -r -p -d -t -- -x'), {
    action: 'upload',
    path: '-x',
    intoFolder: true,
  });
  assert.deepEqual(parseScpCommand('scp -r -f *.c'), { action: 'download', path: '*.c', intoFolder: false });
  assert.equal(parseScpCommand('/usr/bin/scp -f a\\ b')?.path, 'a b');
  assert.equal(parseScpCommand(`scp -f "a 'b"`)?.path, "a 'b");
});

test('takes nothing for a copy that a shell could make more of', () => {
  const commands = [
    ...['scp -t /tmp/x; id', 'scp -f $(id)', 'scp -f `id`', 'scp -t x > y', 'scp -t x\nid', 'scp -f x & id'],
    ...[
      'scp a b',
      'scp -t',
      'scp -t -f x',
      'scp -S evil -t x',
      'scpx -t x',
      'echo scp -t x',
      '/tmp/scp -t x',
    ],
    'scp -o ProxyCommand=id -f x',
  ];
  for (const command of commands) assert.equal(parseScpCommand(command), undefined, command);
});

test('finds a copy in any spelling, for whoever may not', () => {
  const copies = [
    ...[
      'scp -t /tmp/x',
      '/usr/bin/scp -f x',
      'scp -r -p -t x',
      'scp -rt x',
      'cd /tmp && scp -t .',
      '"scp" -f x',
    ],
    ...["s'c'p -t x", 'sc\\p -f x', 'exec scp -t x', 'env A=b scp -v -t x', 'sh -c "scp -t x"', '(scp -f x)'],
    ...['/usr/lib/openssh/sftp-server', 'exec /usr/lib/openssh/sftp-server -e', 'X=`scp -f y`'],
  ];
  for (const command of copies) assert.ok(copiesFiles(command), command);
});

test('lets everything else pass', () => {
  for (const command of [
    'scp a host:b',
    'ls -t',
    'cat scp',
    'man scp',
    'grep -t scp x',
    'cat sftp-server.log',
  ])
    assert.equal(copiesFiles(command), false, command);
});
