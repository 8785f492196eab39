import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseYamlDocuments, toYaml } from '../../config/yaml-text.ts';
import type { Profile } from './profile.ts';
import { parseProfile, profileText } from './profile-text.ts';

const profile: Profile = {
  web_proxy_addr: 'proxy.example.com:3080',
  ssh_proxy_addr: 'proxy.example.com:3023',
  user: 'ana: "näme"',
  cluster: 'example.com',
  roles: ['access', 'audit'],
  logins: [],
  valid_until: '2026-03-01T12:00:00.000Z',
  tls_routing_enabled: true,
  insecure: false,
  host_cas: ['ssh-ed25519 AAAA # comment'],
};

test('a profile is read as it was written', async () => {
  assert.deepEqual(await parseProfile(profileText(profile)), profile);
});

test('a profile is YAML for everybody else', () => {
  assert.deepEqual(parseYamlDocuments(profileText(profile), 'profile')[0], profile);
});

test('a profile that was written as other YAML is read too', async () => {
  assert.deepEqual(await parseProfile(toYaml(profile)), profile);
});

test('what is no profile is none', async () => {
  for (const text of ['', 'user: "ana"\n', 'user: [', '- 1\n', profileText(profile).replace('true', '"yes"')])
    assert.equal(await parseProfile(text), undefined, text);
  const never = { ...profile, valid_until: 'some day' };
  assert.equal(await parseProfile(profileText(never)), undefined);
});
