// Our client against OpenSSH's own server, and its judgement of hosts.
import assert from 'node:assert/strict';
import { connect, createServer } from 'node:net';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { CIPHERS, KEX, MACS, signatureAlgorithm } from './algorithms.ts';
import { hostKeySigners } from './host-keys.ts';
import {
  blobOf,
  connectTo,
  fileText,
  KEY_TYPES,
  startSshd,
  startTestServer,
  until,
  userKey,
} from './openssh.fixture.ts';
import { PacketLink } from './packet-link.ts';
import { signRaw } from './public-key.ts';
import { privateKeyFrom } from './ssh2-protocol.ts';

const login = 'root'; // sshd lets a certificate in only as a user of this host
const skip = process.getuid?.() !== 0 && 'sshd must run as root to change to the user';

for (const type of KEY_TYPES) {
  test(`host and user certificates of type ${type} work with sshd`, { skip }, async () => {
    const sshd = await startSshd(type);
    let shown = Buffer.alloc(0);
    const client = await connectTo(sshd.port, {
      login,
      keys: [userKey(type)],
      async verifyHost({ blob, publicKey, algorithm }) {
        assert.match(algorithm, /-cert-v01@openssh\.com$/);
        assert.deepEqual(publicKey, blobOf(`host_${type}.pub`));
        shown = Buffer.from(blob);
        return true;
      },
    });
    assert.deepEqual(shown, blobOf(`host_${type}-cert.pub`));
    const session = await client.openSession();
    await session.env('LC_TEST', 'yes');
    assert.equal(await session.exec('echo $LC_TEST; echo bad >&2; cat; exit 6'), true);
    await session.stdin.write(Buffer.from('from stdin\n'));
    session.eof();
    const [out, err] = await Promise.all([session.stdout.toArray(), session.stderr.toArray()]);
    assert.equal(Buffer.concat(out).toString(), 'yes\nfrom stdin\n');
    assert.equal(Buffer.concat(err).toString(), 'bad\n');
    assert.deepEqual(await session.exited, { code: 6 });
    client.close();
    sshd.stop();
  });
}

test('every key exchange, cipher and MAC that sshd has works', { skip }, async () => {
  const sshd = await startSshd('ed25519');
  const kexes = KEX.filter((kex) => !kex.startsWith('mlkem')).map((kex) => ({ kex: [kex] }));
  const ciphers = CIPHERS.flatMap((cipher) => MACS.map((mac) => ({ cipher: [cipher], mac: [mac] })));
  for (const algorithms of [...kexes, ...ciphers]) {
    const client = await connectTo(sshd.port, { login, algorithms });
    const session = await client.openSession();
    await session.exec('head -c 200000 /dev/zero');
    const bytes = Buffer.concat(await session.stdout.toArray());
    assert.equal(bytes.length, 200_000, JSON.stringify(algorithms));
    client.close();
  }
  sshd.stop();
});

test('20 MiB go through sshd and back while both ends renew keys', { skip }, async () => {
  const sshd = await startSshd('ecdsa', ['RekeyLimit 1M']);
  const client = await connectTo(sshd.port, { login, rekeyBytes: 1_500_000 });
  const session = await client.openSession();
  await session.exec('cat');
  const sent = Buffer.alloc(20 * 1024 * 1024, 'Sallyport ');
  const received = session.stdout.toArray();
  assert.equal(await session.stdin.write(sent), true);
  session.eof();
  assert.ok(Buffer.concat(await received).equals(sent));
  client.close();
  sshd.stop();
});

test('a terminal, its resizing and signals work with sshd', { skip }, async () => {
  const sshd = await startSshd('ed25519');
  const client = await connectTo(sshd.port, { login });
  const session = await client.openSession();
  const size = { cols: 90, rows: 30, xpixel: 0, ypixel: 0 };
  assert.equal(await session.pty({ ...size, term: 'xterm', modes: Buffer.from([0]) }), true);
  await session.exec('trap "stty size; exit 4" WINCH; stty size; while :; do sleep 0.05; done');
  let text = '';
  session.stdout.on('data', (bytes) => {
    text += bytes;
  });
  await until('the first size', () => text.includes('30 90'));
  session.windowChange({ ...size, cols: 91, rows: 31 });
  assert.deepEqual(await session.exited, { code: 4 });
  assert.match(text, /31 91/);

  const killed = await client.openSession();
  await killed.exec('kill -TERM $$');
  const status = await killed.exited;
  assert.equal(status && 'signal' in status && status.signal, 'TERM');
  client.close();
  sshd.stop();
});

test('a host that verifyHost refuses gets nothing to see', async () => {
  const ours = await startTestServer();
  for (const verifyHost of [
    () => false,
    async () => false,
    () => {
      throw new Error('no');
    },
    async () => {
      throw new Error('no');
    },
  ]) {
    await assert.rejects(connectTo(ours.port, { verifyHost }), { code: 'ssh.host_refused', kind: 'denied' });
  }
  assert.equal(ours.attempts.length, 0);
  assert.ok(ours.refusals.every(({ login: named }) => named === undefined));
  await ours.server.close('done');
});

test('a server without the private key of the certificate it shows is refused', async () => {
  const real = hostKeySigners([
    { privateKey: fileText('host_ed25519'), certificate: blobOf('host_ed25519-cert.pub') },
  ]);
  const name = 'ssh-ed25519-cert-v01@openssh.com';
  const algorithm = signatureAlgorithm(name);
  const [honest] = [real[name]];
  assert.ok(algorithm && honest);
  const impostor = {
    ...honest,
    sign: (data: Buffer) => signRaw(algorithm, privateKeyFrom(fileText('stranger')), data),
  };
  const handler = { secured() {}, message() {}, drained() {}, ended() {} };
  const server = createServer((stream) => {
    const keys = { [name]: impostor };
    new PacketLink(
      { stream, server: true, hostKeys: keys, version: 'Impostor', rekeyBytes: 2 ** 30, rekeyIntervalMs: 0 },
      handler,
    );
  }).listen(0, '127.0.0.1');
  await until('it to listen', () => server.listening);
  const address = server.address();
  assert.ok(address && typeof address === 'object');
  await assert.rejects(connectTo(address.port), { code: 'ssh.connection_lost' });
  server.close();
});

test('a log-in that no key passes is refused as such', async () => {
  const ours = await startTestServer();
  const keys = [{ privateKey: fileText('stranger') }];
  await assert.rejects(connectTo(ours.port, { keys }), { code: 'ssh.login_refused', kind: 'denied' });
  await assert.rejects(connectTo(ours.port, { keys: [] }), { code: 'ssh.login_refused' });
  const client = await connectTo(ours.port, { keys: [...keys, userKey('rsa')] });
  assert.equal(ours.attempts.at(-1)?.algorithm, 'rsa-sha2-512-cert-v01@openssh.com');
  client.close();
  await ours.server.close('done');
});

test('a certificate for another key is refused before anything is sent', async () => {
  const ours = await startTestServer();
  const keys = [{ privateKey: fileText('user_rsa'), certificate: blobOf('user_ed25519-cert.pub') }];
  await assert.rejects(connectTo(ours.port, { keys }), { code: 'ssh.user_certificate', kind: 'bad_input' });
  await ours.server.close('done');
});

test('a server that says nothing is given up', async () => {
  const server = createServer(() => {}).listen(0, '127.0.0.1');
  await until('it to listen', () => server.listening);
  const address = server.address();
  assert.ok(address && typeof address === 'object');
  await assert.rejects(connectTo(address.port, { timeoutMs: 100 }), { code: 'ssh.timeout' });
  server.close();
});

test('any duplex stream carries a connection', async () => {
  const ours = await startTestServer();
  const socket = connect({ port: ours.port, host: '127.0.0.1' });
  const client = await connectTo(ours.port, { stream: Duplex.from({ readable: socket, writable: socket }) });
  const session = await client.openSession();
  await session.exec('echo through');
  assert.equal(Buffer.concat(await session.stdout.toArray()).toString(), 'through\n');
  client.close();
  await ours.server.close('done');
});
