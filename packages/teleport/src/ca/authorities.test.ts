import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { certAuthorityDocument } from '@sallyport/contracts/api/resources.ts';
import fc from 'fast-check';
import { hostLeaf, openAuthorities, temporaryDirectory, userLeaf } from './authorities.fixture.ts';
import { Authorities, type RotationPhase } from './authorities.ts';
import { issueCertificate } from './issue.ts';
import { matchesPin } from './pin.ts';
import { parsePublicKeyLine } from './public-key.ts';
import { advance, type Rotation, rotationPhases, trustedNames } from './rotation.ts';
import { verifyTlsCertificate } from './tls-options.ts';
import { verifyUserCertificate } from './verify.ts';

test('authorities are made once, 0600, and are the same after a restart', async (t) => {
  const dataDir = await temporaryDirectory(t);
  const first = await openAuthorities(t, { dataDir });
  const second = await openAuthorities(t, { dataDir });
  assert.deepEqual(second.trust(), first.trust());
  for (const name of await readdir(join(dataDir, 'ca'))) {
    assert.equal((await stat(join(dataDir, 'ca', name))).mode & 0o777, 0o600, name);
  }
});

test('ten services that start at once agree on one set of authorities', async (t) => {
  const dataDir = await temporaryDirectory(t);
  const all = await Promise.all(Array.from({ length: 10 }, () => openAuthorities(t, { dataDir })));
  const trusts = new Set(all.map((each) => JSON.stringify(each.trust())));
  assert.equal(trusts.size, 1);
});

test('a cluster keeps its name', async (t) => {
  const dataDir = await temporaryDirectory(t);
  await openAuthorities(t, { dataDir, clusterName: 'prod' });
  await assert.rejects(openAuthorities(t, { dataDir, clusterName: 'staging' }), {
    code: 'ca.other_cluster',
    message: /"prod", not of "staging"/,
  });
});

test('the public halves are resources, and the pins are those of the host authorities', async (t) => {
  const authorities = await openAuthorities(t);
  for (const document of authorities.documents()) assert.ok(certAuthorityDocument.parse(document));
  const [pin] = authorities.pins();
  assert.match(pin ?? '', /^sha256:[0-9a-f]{64}$/);
  assert.ok(matchesPin(authorities.trust().tls_host_cas[0] ?? '', [` ${pin?.toUpperCase()} `]));
  assert.ok(!matchesPin(authorities.trust().tls_user_cas[0] ?? '', [pin ?? '']));
});

test('through a rotation, every certificate is good as long as its phase promises', async (t) => {
  const authorities = await openAuthorities(t);
  const good = (pem: string) =>
    verifyTlsCertificate(new X509Certificate(pem), { trust: authorities.trust(), now: new Date() }).ok;
  const issuer = (pem: string) => new X509Certificate(pem).issuer;
  const oldUser = (await userLeaf(authorities)).certPem;
  const oldHost = (await hostLeaf(authorities)).certPem;
  const oldPins = authorities.pins();

  await authorities.rotate('all', 'init');
  assert.ok(good(oldUser) && good(oldHost));
  assert.equal(issuer((await userLeaf(authorities)).certPem), issuer(oldUser), 'init signs with the old');
  assert.equal(authorities.pins().length, 2);
  assert.equal(authorities.pins()[0], oldPins[0]);

  await authorities.rotate('all', 'update_clients');
  const newUser = (await userLeaf(authorities)).certPem;
  assert.notEqual(issuer(newUser), issuer(oldUser), 'people show new certificates');
  assert.equal(issuer((await hostLeaf(authorities)).certPem), issuer(oldHost), 'servers still show old ones');
  assert.ok(good(oldUser) && good(oldHost) && good(newUser));

  await authorities.rotate('all', 'update_servers');
  const newHost = (await hostLeaf(authorities)).certPem;
  assert.notEqual(issuer(newHost), issuer(oldHost));
  assert.ok(good(oldUser) && good(oldHost) && good(newUser) && good(newHost));

  await authorities.rotate('all', 'standby');
  assert.ok(!good(oldUser) && !good(oldHost), 'the old ones are worth nothing');
  assert.ok(good(newUser) && good(newHost));
  assert.equal(authorities.pins().length, 1);
  assert.notEqual(authorities.pins()[0], oldPins[0]);
});

test('a rolled-back rotation leaves what was, and the new certificates good until it is over', async (t) => {
  const authorities = await openAuthorities(t);
  const before = authorities.trust();
  for (const phase of ['init', 'update_clients', 'update_servers'] as const) {
    await authorities.rotate('all', phase);
  }
  const { certPem } = await hostLeaf(authorities);
  const good = () =>
    verifyTlsCertificate(new X509Certificate(certPem), { trust: authorities.trust(), now: new Date() }).ok;
  await authorities.rotate('all', 'rollback');
  assert.equal(authorities.trust().tls_host_cas[0], before.tls_host_cas[0]);
  assert.ok(good());
  await authorities.rotate('all', 'standby');
  assert.deepEqual(authorities.trust(), before);
  assert.ok(!good());
});

test('SSH certificates follow the same phases', async (t) => {
  const authorities = await openAuthorities(t);
  const verdict = async (blob: Buffer) =>
    verifyUserCertificate({
      blob,
      trustedCas: authorities.trust().ssh_user_cas.map(parsePublicKeyLine),
      login: 'alice',
      now: new Date(),
      remoteAddress: '127.0.0.1',
    });
  const old = await sshCertificate(authorities);
  await authorities.rotate('user', 'init');
  await authorities.rotate('user', 'update_clients');
  const fresh = await sshCertificate(authorities);
  assert.deepEqual([(await verdict(old)).ok, (await verdict(fresh)).ok], [true, true]);
  await authorities.rotate('user', 'update_servers');
  await authorities.rotate('user', 'standby');
  assert.deepEqual([(await verdict(old)).ok, (await verdict(fresh)).ok], [false, true]);
});

test('each phase outlives a restart; the keys of a retired authority are gone', async (t) => {
  const dataDir = await temporaryDirectory(t);
  const phases = ['init', 'update_clients', 'update_servers', 'standby'] as const;
  for (const phase of phases) {
    const authorities = await openAuthorities(t, { dataDir });
    assert.deepEqual(await authorities.rotate('host', phase), { host: phase, user: 'standby' });
    const again = await openAuthorities(t, { dataDir });
    assert.deepEqual(again.trust(), authorities.trust());
    assert.deepEqual(again.documents(), authorities.documents());
  }
  const files = await readdir(join(dataDir, 'ca'));
  const expected = ['authorities.json', 'host_ca-2', 'host_ca-2.pub', 'host_ca-2.tls'];
  assert.deepEqual(files.sort(), [...expected, 'user_ca', 'user_ca.pub', 'user_ca.tls']);
});

test('a phase that does not follow is refused, and changes nothing', async (t) => {
  const authorities = await openAuthorities(t);
  const before = authorities.documents();
  await assert.rejects(authorities.rotate('all', 'update_servers'), {
    code: 'ca.rotation_order',
    hint: 'What can follow: init.',
  });
  assert.deepEqual(authorities.documents(), before);
  await authorities.rotate('user', 'init');
  await assert.rejects(authorities.rotate('all', 'update_clients'), { code: 'ca.rotation_order' });
  assert.equal(authorities.documents()[1]?.spec.rotation.phase, 'init', 'neither of the two went on');
});

test('whoever asked is told of each phase', async (t) => {
  const authorities = await openAuthorities(t);
  let told = 0;
  const stop = authorities.onChange(() => told++);
  await authorities.rotate('host', 'init');
  assert.equal(told, 1);
  stop();
  await authorities.rotate('host', 'rollback');
  assert.equal(told, 1);
});

test('a lost or damaged state file is never guessed', async (t) => {
  const dataDir = await temporaryDirectory(t);
  const authorities = await openAuthorities(t, { dataDir });
  await authorities.rotate('host', 'init');
  const path = join(dataDir, 'ca', 'authorities.json');
  const text = await readFile(path, 'utf8');
  await writeFile(path, text.slice(0, 40));
  await assert.rejects(openAuthorities(t, { dataDir }), { code: 'ca.bad_key_file', hint: /backup/ });
  await writeFile(path, text.replace('"host_ca-2"', '"../../etc/passwd"'));
  await assert.rejects(openAuthorities(t, { dataDir }), { code: 'ca.bad_key_file' });
  await rm(path);
  await assert.rejects(openAuthorities(t, { dataDir }), { code: 'ca.bad_key_file', message: /host_ca-2/ });
  await writeFile(path, text, { mode: 0o600 });
  await rm(join(dataDir, 'ca', 'host_ca-2.tls'));
  await assert.rejects(openAuthorities(t, { dataDir }), { code: 'ca.no_key' });
});

test('a damaged X.509 authority is named and left alone', async (t) => {
  const dataDir = await temporaryDirectory(t);
  await openAuthorities(t, { dataDir });
  await writeFile(join(dataDir, 'ca', 'user_ca.tls'), 'damaged');
  await assert.rejects(openAuthorities(t, { dataDir }), { code: 'ca.bad_key_file', message: /user_ca\.tls/ });
});

test('without leave to create, missing authorities are an error', async (t) => {
  const dataDir = await temporaryDirectory(t);
  const opening = Authorities.open({ dataDir, clusterName: 'prod', create: false, now: () => new Date() });
  await assert.rejects(opening, { code: 'ca.no_key' });
});

test('in whatever order phases come, what signs is trusted, and standby trusts one authority', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...rotationPhases), { maxLength: 30 }), (phases) => {
      let rotation: Rotation = { phase: 'standby', current: 'host_ca' };
      let number = 2;
      for (const phase of phases) {
        rotation = attempt(rotation, phase, `host_ca-${number++}`);
        for (const type of ['host', 'user'] as const) {
          const names = trustedNames(type, rotation);
          assert.equal(new Set(names).size, rotation.phase === 'standby' ? 1 : 2);
        }
      }
    }),
  );
});

function attempt(rotation: Rotation, to: RotationPhase, fresh: string): Rotation {
  try {
    return advance(rotation, to, fresh, new Date());
  } catch {
    return rotation;
  }
}

function sshCertificate(authorities: Authorities): Promise<Buffer> {
  return issueCertificate(authorities.active('user').ssh, {
    type: 'user',
    publicKey: authorities.active('host').ssh.publicKey,
    keyId: 'alice',
    principals: ['alice'],
    validAfter: new Date(Date.now() - 60_000),
    validBefore: new Date(Date.now() + 60_000),
  });
}
