// What a command loads is what a person waits for: libraries it does not need must not creep in.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { authSocketPath } from '../auth-socket.ts';
import { has, start } from '../loaded-modules.fixture.ts';

const main = join(import.meta.dirname, 'main.ts');

test('status asks and prints without the schemas of the API, SSH or X.509 library', async (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'sallyport-tctl-'));
  const config = join(dataDir, 'teleport.yaml');
  writeFileSync(config, `version: v3\nteleport:\n  nodename: auth-1\n  data_dir: ${dataDir}\n`);
  const server = createServer((request, response) => {
    const answer =
      request.url === '/v1/ping'
        ? { cluster_name: 'demo', version: '1.2.3', ca_pins: ['sha256:00'] }
        : { resources: [] };
    response.end(JSON.stringify(answer));
  }).listen(authSocketPath(dataDir));
  t.after(() => {
    server.close();
    rmSync(dataDir, { recursive: true });
  });
  await once(server, 'listening');
  const { stdout, modules } = await start(main, '-c', config, 'status');
  assert.match(stdout, /^Cluster: demo\nVersion: 1\.2\.3\n.*\nCA pin: {2}sha256:00\n$/s);
  assert.ok(has(modules, 'commander') && has(modules, 'yaml'), 'the modules are told');
  for (const library of ['zod', 'ssh2', '@peculiar/x509'])
    assert.equal(has(modules, library), false, library);
});

test('help loads the command tree and no action', async () => {
  const { modules } = await start(main, '--help');
  const ours = modules.filter((line) => line.includes('/cli/tctl/'));
  assert.deepEqual(ours, [`loads file://${main}`]);
});
