import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import {
  blobOf,
  connectTo,
  fileText,
  folder,
  hostKey,
  ssh,
  startTestServer,
  type TestServer,
} from './openssh.fixture.ts';

const expired = (type: string) => {
  execFileSync('ssh-keygen', ['-q', '-t', type, '-N', '', '-f', 'host_old'], { cwd: folder });
  const lifetime = ['-V', '20200101:20200201'];
  execFileSync(
    'ssh-keygen',
    ['-q', '-s', 'host_ca', '-h', '-I', 'old', '-n', '127.0.0.1', ...lifetime, 'host_old.pub'],
    {
      cwd: folder,
    },
  );
  return { privateKey: fileText('host_old'), certificate: blobOf('host_old-cert.pub') };
};

let ours: TestServer;
before(async () => {
  ours = await startTestServer({ hostKeys: [expired('ed25519')] });
});
after(() => ours.server.close('done'));

test('a renewed host certificate is shown to new clients while living connections go on, new keys included', async () => {
  const refused = await ssh({ port: ours.port }, 'true');
  assert.equal(refused.code, 255, 'an expired certificate is refused');
  assert.match(refused.stderr, /expired/);

  const living = await connectTo(ours.port);
  ours.server.setHostKeys([hostKey('ed25519')]);

  assert.equal((await ssh({ port: ours.port }, 'echo in')).stdout, 'in\n');
  await living.rekey();
  const session = await living.openSession();
  await session.exec('echo still here');
  assert.equal(Buffer.concat(await session.stdout.toArray()).toString(), 'still here\n');
  assert.deepEqual(living.hostKey.blob, blobOf('host_old-cert.pub'));
  living.close();
});

test('unfit host keys are refused and the old ones stay', async () => {
  const misfit = { privateKey: fileText('host_rsa'), certificate: blobOf('host_ecdsa-cert.pub') };
  assert.throws(() => ours.server.setHostKeys([misfit]), { code: 'ssh.host_certificate' });
  assert.throws(() => ours.server.setHostKeys([]), { code: 'ssh.host_key' });
  assert.equal((await ssh({ port: ours.port }, 'echo in')).stdout, 'in\n');
});
