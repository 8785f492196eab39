// The completion scripts in the shells they are for.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { run, tshProgram } from './cluster.fixture.ts';

let dir: string;
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'sallyport-completion-'));
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { status, stdout, stderr } = await run(tshProgram, ['completion', shell]);
    assert.equal(status, 0, stderr);
    await writeFile(join(dir, shell), stdout);
  }
});
after(() => rm(dir, { recursive: true, force: true }));

const has = async (shell: string) => (await run('sh', ['-c', `command -v ${shell}`])).status === 0;

test('bash completes commands and flags', async () => {
  const ask = async (...words: string[]) => {
    const script = `. ${dir}/bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _tsh; echo "\${COMPREPLY[*]}"`;
    const { stdout, stderr } = await run('bash', ['--norc', '-c', script, 'bash', ...words]);
    assert.equal(stderr, '');
    return stdout.trim().split(' ');
  };
  assert.deepEqual(await ask('tsh', 'log'), ['login', 'logout']);
  assert.deepEqual(await ask('tsh', 'proxy', ''), ['ssh', '--help']);
  assert.ok((await ask('tsh', 'ssh', '--')).includes('--forward-agent'));
  assert.ok((await ask('tsh', 'login', '--proxy=x', '--t')).includes('--ttl'));
});

test('zsh and fish load theirs', async (t) => {
  const loads = {
    zsh: ['-f', '-c', `autoload -U compinit && compinit -u -D && . ${dir}/zsh && whence _tsh`],
    fish: ['--no-config', '-c', `source ${dir}/fish; complete -C 'tsh log'`],
  };
  for (const [shell, args] of Object.entries(loads)) {
    if (!(await has(shell))) {
      t.diagnostic(`${shell} is not installed`);
      continue;
    }
    const { status, stdout, stderr } = await run(shell, args);
    assert.deepEqual([status, stderr], [0, ''], shell);
    assert.match(stdout, shell === 'zsh' ? /_tsh/ : /login[\s\S]*logout/);
  }
});

test('another shell is refused', async () => {
  const { status, stderr } = await run(tshProgram, ['completion', 'tcsh']);
  assert.equal(status, 2);
  assert.match(stderr, /bash, zsh and fish/);
});
