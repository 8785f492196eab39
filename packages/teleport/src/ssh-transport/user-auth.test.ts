// Logging in, seen from a client that does not play by the rules.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Message } from './message.ts';
import {
  blobOf,
  connectTo,
  fileText,
  startTestServer,
  type TestServer,
  until,
  userKey,
} from './openssh.fixture.ts';
import { RawPeer } from './raw-peer.fixture.ts';

let ours: TestServer;
before(async () => {
  ours = await startTestServer({ limits: { maxAuthTries: 3 } });
});
after(() => ours.server.close('done'));

const request = { byte: Message.userauthRequest };
const lastRefusal = () => ours.refusals.at(-1);

test('a valid certificate with the wrong private key is refused before anybody is asked', async () => {
  const asked = ours.attempts.length;
  const peer = await RawPeer.connect(ours.port);
  await peer.askForLogIn();
  peer.signIn(fileText('stranger'));
  assert.ok(await peer.next(Message.userauthFailure));
  assert.equal(lastRefusal()?.kind, 'bad-signature');
  assert.ok(lastRefusal()?.blob?.equals(blobOf('user_ed25519-cert.pub')));
  assert.equal(ours.attempts.length, asked);
  peer.signIn();
  assert.ok(await peer.next(Message.userauthSuccess), 'the right key gets in afterwards');
  peer.socket.destroy();
});

test('a signature made for another session is refused', async () => {
  const [one, two] = [await RawPeer.connect(ours.port), await RawPeer.connect(ours.port)];
  await Promise.all([one.askForLogIn(), two.askForLogIn()]);
  const sent: Buffer[] = [];
  const { link } = one;
  const { send } = link;
  link.send = (payload: Buffer) => void sent.push(payload);
  one.signIn();
  link.send = send;
  assert.ok(sent[0]);
  two.link.send(sent[0]);
  assert.ok(await two.next(Message.userauthFailure));
  assert.equal(lastRefusal()?.kind, 'bad-signature');
  one.socket.destroy();
  two.socket.destroy();
});

test('a signature is bound to the login name', async () => {
  const peer = await RawPeer.connect(ours.port);
  await peer.askForLogIn();
  const { link } = peer;
  const { send } = link;
  let signed = Buffer.alloc(0);
  link.send = (payload: Buffer) => {
    signed = Buffer.from(payload);
  };
  peer.signIn(undefined, undefined, 'alice');
  link.send = send;
  signed.write('admin', 5); // the same length
  link.send(signed);
  assert.ok(await peer.next(Message.userauthFailure));
  assert.equal(lastRefusal()?.kind, 'bad-signature');
  peer.socket.destroy();
});

test('a certificate is not taken for a key of another algorithm, nor cut short, nor trailed by bytes', async () => {
  const { certificate } = userKey('ed25519');
  const oddities: [string, Buffer][] = [
    ['ssh-ed25519', certificate],
    ['ssh-ed25519-cert-v01@openssh.com', blobOf('user_ed25519.pub')],
    ['ssh-rsa', blobOf('user_rsa.pub')],
    ['ssh-rsa-cert-v01@openssh.com', userKey('rsa').certificate],
    ['ssh-ed25519-cert-v01@openssh.com', certificate.subarray(0, 60)],
    ['ssh-ed25519', Buffer.concat([blobOf('user_ed25519.pub'), Buffer.alloc(4)])],
    ['no-such-algorithm', Buffer.alloc(0)],
  ];
  for (const [algorithm, blob] of oddities) {
    const peer = await RawPeer.connect(ours.port);
    await peer.askForLogIn();
    peer.send(request, 'alice', 'ssh-connection', 'publickey', false, algorithm, blob);
    assert.ok(await peer.next(Message.userauthFailure), algorithm);
    peer.socket.destroy();
  }
});

test('a query for a fit key is answered with it, and is not a try', async () => {
  const peer = await RawPeer.connect(ours.port);
  await peer.askForLogIn();
  const { certificate } = userKey('ed25519');
  for (let n = 0; n < 5; n++) {
    const ask = [false, 'ssh-ed25519-cert-v01@openssh.com', certificate];
    peer.send(request, 'alice', 'ssh-connection', 'publickey', ...ask);
    const answer = await peer.next(Message.userauthPkOk);
    assert.ok(answer?.payload.includes(certificate));
  }
  peer.signIn();
  assert.ok(await peer.next(Message.userauthSuccess));
  peer.socket.destroy();
});

test('after maxAuthTries failures the connection ends', async () => {
  const peer = await RawPeer.connect(ours.port);
  await peer.askForLogIn();
  peer.send(request, 'alice', 'ssh-connection', 'none');
  assert.ok(await peer.next(Message.userauthFailure), 'the first none is free');
  for (let n = 0; n < 3; n++) peer.signIn(fileText('stranger'));
  await until('the end', () => peer.ended !== undefined);
  assert.match(peer.ended ?? '', /Too many authentication failures/);
  assert.equal(lastRefusal()?.kind, 'max-auth-tries');
  assert.equal(lastRefusal()?.login, 'alice');
});

test('the login name may not change on the way', async () => {
  const peer = await RawPeer.connect(ours.port);
  await peer.askForLogIn();
  peer.send(request, 'alice', 'ssh-connection', 'none');
  peer.send(request, 'root', 'ssh-connection', 'none');
  await until('the end', () => peer.ended !== undefined);
  assert.match(peer.ended ?? '', /change of login name/);
});

test('nobody opens a channel before logging in', async () => {
  const peer = await RawPeer.connect(ours.port);
  await peer.askForLogIn();
  const numbers = [{ uint32: 0 }, { uint32: 2 ** 20 }, { uint32: 2 ** 15 }];
  peer.send({ byte: Message.channelOpen }, 'session', ...numbers);
  await until('the end', () => peer.ended !== undefined);
  assert.ok(peer.received.every(({ type }) => type !== Message.channelOpenConfirmation));
});

test('nobody logs in by declaring success', async () => {
  const peer = await RawPeer.connect(ours.port);
  await peer.askForLogIn();
  peer.send({ byte: Message.userauthSuccess });
  await until('the end', () => peer.ended !== undefined);
});

test('requests sent all at once are answered in order', async () => {
  const peer = await RawPeer.connect(ours.port);
  await peer.askForLogIn();
  peer.send(request, 'alice', 'ssh-connection', 'none');
  peer.signIn(fileText('stranger'));
  peer.signIn();
  peer.signIn();
  assert.ok(await peer.next(Message.userauthSuccess));
  const types = peer.received.map(({ type }) => type).filter((type) => type > 50 && type < 60);
  assert.deepEqual(types, [Message.userauthFailure, Message.userauthFailure, Message.userauthSuccess]);
  await peer.exec('true');
  assert.ok(await peer.next(Message.channelSuccess), 'what came behind the success does no harm');
  peer.socket.destroy();
});

test('a decision that throws refuses', async () => {
  const throwing = await startTestServer({
    authenticate: async () => {
      throw new Error('store is away');
    },
  });
  await assert.rejects(connectTo(throwing.port), { code: 'ssh.login_refused' });
  assert.match(throwing.refusals[0]?.reason ?? '', /store is away/);
  await throwing.server.close('done');
});

test('a handler that throws ends its own connection or channel only', async () => {
  let calls = 0;
  const warned: string[] = [];
  const throwing = await startTestServer({
    onConnection: () => {
      if (++calls > 1) throw new Error('no');
      return {
        session: () => {
          throw new Error('no');
        },
      };
    },
    log: { debug: () => {}, warn: (_fields, message) => warned.push(message) },
  });
  const one = await connectTo(throwing.port);
  const two = await connectTo(throwing.port);
  assert.match(await two.closed, /Internal error/);
  const session = await one.openSession();
  assert.equal(await session.exec('true'), false);
  assert.equal(await session.exited, undefined);
  assert.ok(await one.ping());
  assert.deepEqual(warned, ['onConnection failed', 'a handler failed: its channel is closed']);
  one.close();
  await throwing.server.close('done');
});
