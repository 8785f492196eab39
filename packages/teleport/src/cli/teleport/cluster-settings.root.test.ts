// Settings of auth_service on the auth host hold on a node that joined from elsewhere and has none of them in its file.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { loadConfig } from '../../config/load-config.ts';
import { cannotLaunch } from '../../ssh/host.fixture.ts';
import { OneNode, until } from './one-node.fixture.ts';
import { type RunningTeleport, startTeleport } from './service.ts';

const token = 'static-token-of-the-test';

describe('a node that joined a cluster', { skip: cannotLaunch() }, () => {
  let auth: OneNode;
  let far: RunningTeleport;
  before(async () => {
    auth = await OneNode.start({
      enhanced: false,
      authYaml: `session_recording: off, tokens: ["node:${token}"]`,
    });
    const address = `127.0.0.1:${auth.service?.authAddress?.port}`;
    const { config } = loadConfig(`version: v3
teleport: { nodename: far-1, data_dir: ${join(auth.folder, 'far')}, auth_server: "${address}", auth_token: ${token} }
auth_service: { enabled: false }
proxy_service: { enabled: false }
ssh_service: { enabled: true, listen_addr: "127.0.0.1:0" }
`);
    const silent = () => {};
    const log = { debug: silent, info: silent, warn: silent, error: silent };
    far = await startTeleport(config, { version: '0.1.0', log });
    auth.listensOn(far.ssh?.address.port ?? 0);
  });
  after(async () => {
    await far?.stop('the test is over');
    await auth?.remove();
  });

  test('records as the cluster says', async () => {
    const { events } = await auth.session('true');
    const start = events.find(({ event }) => event === 'session.start');
    assert.deepEqual([start?.['server_hostname'], start?.['session_recording']], ['far-1', 'off']);
  });

  test('holds even the living to a timeout that the auth host was given meanwhile', async () => {
    const child = auth.spawnSsh('echo up; exec sleep 1041', { tty: true });
    let shown = '';
    for (const from of [child.stdout, child.stderr])
      from.on('data', (text: Buffer) => {
        shown += text;
      });
    const gone = new Promise((resolve) => child.once('close', resolve));
    await until('it runs', () => shown.includes('up'));
    const { port } = auth.service?.authAddress ?? {};
    const yaml = auth
      .yaml(0)
      .replace('listen_addr: "127.0.0.1:0"', `listen_addr: "127.0.0.1:${port}", client_idle_timeout: 2s`);
    auth.yaml = () => yaml;
    await auth.stop();
    await auth.start();
    await gone;
    assert.match(shown, /Nothing was done for 2 s\./);
    const event = await until('client.disconnect', async () =>
      (await auth.events()).find(({ event: name }) => name === 'client.disconnect'),
    );
    assert.equal(event['server_hostname'], 'far-1');
  });
});
