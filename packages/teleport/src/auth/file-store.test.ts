import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { FileStore } from './file-store.ts';
import { storeContract } from './store.contract.ts';

const made: string[] = [];
async function directory(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'sallyport-store-'));
  made.push(dir);
  return dir;
}
after(() => Promise.all(made.map((dir) => rm(dir, { recursive: true, force: true }))));

const ana = { name: 'ana', roles: ['access'], traits: {}, created: '2026-01-01T00:00:00Z' };

storeContract('FileStore', async () => {
  const dir = await directory();
  return () => FileStore.open(dir);
});

test('files are 0600 in a 0700 directory, and no temporary file stays', async () => {
  const dir = await directory();
  const store = await FileStore.open(dir);
  await store.put('user', 'ana', ana, 'create');
  assert.equal((await stat(join(dir, 'auth', 'user'))).mode & 0o777, 0o700);
  assert.equal((await stat(join(dir, 'auth', 'user', 'ana.json'))).mode & 0o777, 0o600);
  assert.deepEqual(await readdir(join(dir, 'auth', 'user')), ['ana.json']);
});

test('a user file that others may write is refused: it decides who may log in', async () => {
  const dir = await directory();
  const store = await FileStore.open(dir);
  await store.put('user', 'ana', ana, 'create');
  await chmod(join(dir, 'auth', 'user', 'ana.json'), 0o666);
  await assert.rejects(store.get('user', 'ana'), { code: 'ca.file_too_open' });
});

test('a damaged file is named, not taken for an absent user', async () => {
  const dir = await directory();
  const store = await FileStore.open(dir);
  await writeFile(join(dir, 'auth', 'user', 'ana.json'), '{"na', { mode: 0o600 });
  await assert.rejects(store.get('user', 'ana'), {
    code: 'auth.bad_record',
    message: /ana\.json is damaged/,
  });
});

test('a writer that is killed while it holds the lock keeps nobody out', async () => {
  const dir = await directory();
  await FileStore.open(dir);
  const lock = JSON.stringify(join(dir, 'auth', 'lock'));
  const module = JSON.stringify(join(import.meta.dirname, 'store-lock.ts'));
  const program = `const { withLock } = await import(${module});
    await withLock(${lock}, () => new Promise(() => { console.log('held'); setInterval(() => {}, 1000); }));`;
  const holder = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  const waiting = (await FileStore.open(dir)).put('user', 'ana', ana, 'create');
  holder.kill('SIGKILL');
  await waiting;
  assert.deepEqual((await (await FileStore.open(dir)).get('user', 'ana'))?.value, ana);
});
