import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { configTemplate } from './config-template.ts';
import { defaultConfig, loadConfig } from './load-config.ts';
import { overrideConfig } from './override.ts';

const values = { nodename: 'web-1', clusterName: 'prod', dataDir: '/srv/teleport' };

test('the printed configuration loads without a warning and means what was asked for', () => {
  const { config, warnings } = loadConfig(configTemplate(values));
  assert.deepEqual(warnings, []);
  assert.deepEqual(
    [config.nodename, config.auth.clusterName, config.dataDir],
    ['web-1', 'prod', '/srv/teleport'],
  );
  assert.deepEqual([config.auth.enabled, config.ssh.enabled, config.proxy.enabled], [true, true, false]);
});

test('names that YAML would take for something else survive', () => {
  const odd = { nodename: 'yes', clusterName: '0123', dataDir: '/srv/a: b #c' };
  const { config } = loadConfig(configTemplate(odd));
  assert.deepEqual(
    { nodename: config.nodename, clusterName: config.auth.clusterName, dataDir: config.dataDir },
    odd,
  );
});

test('every commented default is the default: taking the comments away changes nothing', () => {
  const text = configTemplate(values);
  const keys = text.split('\n').map((line) => line.replace(/^(\s*)# ( *[a-z0-9_]+:( \S+| \[\])?)$/, '$1$2'));
  const uncommented = loadConfig(keys.join('\n')).config;
  assert.ok(keys.join('\n').length < text.length - 50, 'comments were taken away');
  assert.deepEqual(uncommented, loadConfig(text).config);
});

test('every example loads, and needs nothing that is not in effect', async () => {
  const folder = join(import.meta.dirname, '../../../../examples');
  const files = (await readdir(folder)).filter((file) => file.endsWith('.yaml') && !file.startsWith('role-'));
  assert.ok(files.length >= 4, files.join());
  for (const file of files) {
    assert.deepEqual(loadConfig(await readFile(join(folder, file), 'utf8'), file).warnings, [], file);
  }
});

test('--roles decides which services run, whatever the file says', () => {
  const { config } = defaultConfig();
  const only = overrideConfig(config, { roles: ['node'] });
  assert.deepEqual([only.auth.enabled, only.ssh.enabled, only.proxy.enabled], [false, true, false]);
  assert.deepEqual(overrideConfig(config, {}), config);
});

test('--nodename also names a cluster that has no name of its own', () => {
  const { config } = defaultConfig();
  assert.equal(overrideConfig(config, { nodename: 'n' }).auth.clusterName, 'n');
  const named = loadConfig('auth_service: {cluster_name: prod}').config;
  assert.equal(overrideConfig(named, { nodename: 'n' }).auth.clusterName, 'prod');
});
