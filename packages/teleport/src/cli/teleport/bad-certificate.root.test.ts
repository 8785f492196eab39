// Every certificate a node must not let in: OpenSSH's own client shows it, the node refuses, and the log says why.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Authorities } from '../../ca/authorities.ts';
import { type CertificateRequest, issueCertificate } from '../../ca/issue.ts';
import { generateEd25519 } from '../../ca/openssh-private-key.ts';
import { parsePublicKeyLine, publicKeyLine } from '../../ca/public-key.ts';
import { KeySigner } from '../../ca/signature.ts';
import type { Signer } from '../../ca/signer.ts';
import { cannotLaunch } from '../../ssh/host.fixture.ts';
import { OneNode, until } from './one-node.fixture.ts';

const hourMs = 3_600_000;

describe('a node refuses, and says why in the log,', { skip: cannotLaunch() }, () => {
  let node: OneNode;
  let authority: Signer;
  let publicKey: Buffer;

  before(async () => {
    node = await OneNode.start({ enhanced: false });
    const authorities = await Authorities.open({
      dataDir: node.dataDir,
      clusterName: 'demo',
      create: false,
      now: () => new Date(),
    });
    authority = authorities.active('user').ssh;
    publicKey = parsePublicKeyLine(await readFile(join(node.folder, 'id.pub'), 'utf8'));
  });
  after(() => node.remove());

  async function refused(certificate: Buffer, reason: RegExp): Promise<void> {
    await writeFile(join(node.folder, 'id-cert.pub'), `${publicKeyLine(certificate)}\n`);
    const known = (await node.events()).length;
    const ran = await node.ssh('true');
    assert.equal(ran.status, 255, ran.stdout);
    const event = await until('the refusal is in the log', async () =>
      (await node.events()).slice(known).find(({ code }) => code === 'T3007W'),
    );
    assert.match(String(event['error']), reason);
    assert.equal(event['success'], false);
  }

  function certificate(changes: Partial<CertificateRequest>, signer: Signer = authority): Promise<Buffer> {
    const now = Date.now();
    return issueCertificate(signer, {
      type: 'user',
      publicKey,
      keyId: 'alice',
      principals: ['root'],
      validAfter: new Date(now - hourMs),
      validBefore: new Date(now + hourMs),
      extensions: { 'roles@sallyport': JSON.stringify(['tested']) },
      ...changes,
    });
  }

  test('one that has expired', async () => {
    await refused(await certificate({ validBefore: new Date(Date.now() - 60_000) }), /expired/);
  });

  test('one that is not valid yet', async () => {
    const later = {
      validAfter: new Date(Date.now() + hourMs),
      validBefore: new Date(Date.now() + 2 * hourMs),
    };
    await refused(await certificate(later), /not yet|not valid/);
  });

  test('one for another login', async () => {
    await refused(await certificate({ principals: ['nobody-here'] }), /login|principal/);
  });

  test('one of another authority', async () => {
    const stranger = new KeySigner(generateEd25519());
    await refused(await certificate({}, stranger), /authority|CA|signed/);
  });

  test('one with a critical option it does not know', async () => {
    await refused(await certificate({ criticalOptions: { 'only-on-tuesdays': 'yes' } }), /critical option/);
  });

  test('one whose roles are not there', async () => {
    await refused(await certificate({ extensions: { 'roles@sallyport': '["gone"]' } }), /role/);
  });

  test('one for another key than the client has', async () => {
    const other = join(node.folder, 'other');
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', other]);
    const stolen = await certificate({
      publicKey: parsePublicKeyLine(await readFile(`${other}.pub`, 'utf8')),
    });
    await writeFile(join(node.folder, 'id-cert.pub'), `${publicKeyLine(stolen)}\n`);
    assert.equal((await node.ssh('true')).status, 255);
  });
});
