import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadConfig } from '../../config/load-config.ts';
import { changedKeys } from './reload.ts';

const load = (nodename: string, labels: string) =>
  loadConfig(`version: v3
teleport: { nodename: ${nodename}, data_dir: /d, auth_server: "a:1" }
ssh_service: { enabled: true, labels: ${labels} }
`).config;

test('two loads of one file differ in nothing', () => {
  assert.deepEqual(changedKeys(load('n', '{ a: b }'), load('n', '{ a: b }')), []);
});

test('what differs is named by its path', () => {
  const keys = changedKeys(load('n', '{ a: b }'), load('n', '{ a: c, d: e }'));
  assert.deepEqual(keys, ['ssh.labels.a', 'ssh.labels.d']);
  assert.ok(changedKeys(load('n', '{}'), load('m', '{}')).includes('nodename'));
});
