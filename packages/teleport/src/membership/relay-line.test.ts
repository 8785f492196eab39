// Signed words of real keys and certificates; each forgery is one step away from a word that is believed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LockDocument } from '@sallyport/contracts/api/resources.ts';
import fc from 'fast-check';
import { identityExtensions } from '../ca/identity.ts';
import { type CertificateRequest, issueCertificate } from '../ca/issue.ts';
import { generateEd25519 } from '../ca/openssh-private-key.ts';
import { publicKeyBlob, publicKeyLine } from '../ca/public-key.ts';
import { KeySigner } from '../ca/signature.ts';
import { MAX_RELAY_LINE_BYTES } from '../ssh-transport/relay-line.ts';
import { RelayJudge, relayLine } from './relay-line.ts';

const clusterName = 'test.example';
const ours = '7b1f6a52-7f0f-4f4e-9d5a-000000000001';
const proxyUuid = '7b1f6a52-7f0f-4f4e-9d5a-000000000002';
const remote = { host: '198.51.100.7', port: 50_022 };
const now = new Date('2026-01-01T12:00:00Z');
const later = (ms: number) => new Date(now.getTime() + ms);

const hostCa = new KeySigner(generateEd25519());
const proxyKey = generateEd25519();
const signer = new KeySigner(proxyKey);

const certify = (changes: Partial<CertificateRequest> = {}, ca = hostCa) =>
  issueCertificate(ca, {
    type: 'host',
    publicKey: publicKeyBlob(proxyKey),
    keyId: proxyUuid,
    principals: [proxyUuid, `proxy.${clusterName}`],
    validAfter: later(-3_600_000),
    validBefore: later(3_600_000),
    extensions: { [identityExtensions.roles]: JSON.stringify(['proxy']) },
    ...changes,
  });
const certificate = await certify();

type Order = Partial<Parameters<typeof relayLine>[0]>;
const lineOf = async (changes: Order = {}) =>
  (await relayLine({ signer, certificate, node: ours, remote, now, ...changes })).trimEnd();

function judgeOf({ locks = [], at = now }: { locks?: readonly LockDocument[]; at?: Date } = {}) {
  const cluster = {
    trust: {
      cluster_name: clusterName,
      ssh_host_cas: [publicKeyLine(hostCa.publicKey)],
      ssh_user_cas: [],
      tls_host_cas: [],
      tls_user_cas: [],
    },
    locks,
  };
  return new RelayJudge({ cluster, hostUuid: ours, now: () => at });
}

async function refuses(pattern: RegExp, line: string | Promise<string>, judge = judgeOf()): Promise<void> {
  const verdict = judge.judge(await line);
  assert.match('refuse' in verdict ? verdict.refuse : `believed: ${JSON.stringify(verdict)}`, pattern);
}

test('the word of a proxy of the cluster is believed, once', async () => {
  const judge = judgeOf();
  const line = await lineOf();
  assert.deepEqual(judge.judge(line), { remote });
  await refuses(/was used before/, line, judge);
  assert.deepEqual(judge.judge(await lineOf()), { remote }, 'another word of the same person');
});

test('a word is one line that fits, with a hundred names in the certificate, too', async () => {
  const names = Array.from({ length: 100 }, (_, n) => `proxy-${n}.a-name-of-usual-length.example.com`);
  const wide = await certify({ principals: [`proxy.${clusterName}`, ...names] });
  const line = await relayLine({ signer, certificate: wide, node: ours, remote, now });
  assert.match(line, /^[ -~]+\n$/);
  assert.ok(line.length < MAX_RELAY_LINE_BYTES, `${line.length}`);
  assert.deepEqual(judgeOf().judge(line.trimEnd()), { remote });
});

test('clocks may differ by a minute, not by more', async () => {
  for (const ms of [-60_000, 60_000])
    assert.deepEqual(judgeOf().judge(await lineOf({ now: later(ms) })), { remote });
  await refuses(/61 s old/, lineOf({ now: later(-61_000) }));
  await refuses(/61 s in the future/, lineOf({ now: later(61_000) }));
});

test('a certificate that is not one of a proxy of this cluster is refused', async () => {
  const roles = (names: readonly string[]) => ({ [identityExtensions.roles]: JSON.stringify(names) });
  const stranger = new KeySigner(generateEd25519());
  const cases: readonly [RegExp, Promise<Buffer>][] = [
    [/a CA this cluster does not trust/, certify({}, stranger)],
    [/not for "proxy\.test\.example"/, certify({ principals: [proxyUuid], extensions: roles(['node']) })],
    [/not one of a proxy/, certify({ extensions: roles(['node']) })],
    [/not one of a proxy/, certify({ extensions: {} })],
    [/not one of a proxy/, certify({ extensions: { [identityExtensions.roles]: '{"' } })],
    [/expired at/, certify({ validBefore: later(-1_000) })],
    [/not valid before/, certify({ validAfter: later(1_000) })],
    [/is a user certificate/, certify({ type: 'user' })],
  ];
  for (const [reason, forged] of cases) await refuses(reason, lineOf({ certificate: await forged }));
});

test('a word of another key than the certificate’s, or for another node, is refused', async () => {
  await refuses(/signature of the relay/, lineOf({ signer: new KeySigner(generateEd25519()) }));
  await refuses(/another host/, lineOf({ node: proxyUuid }));
});

test('a proxy that is locked is not believed any more', async () => {
  const lock = (node: string): LockDocument => ({
    kind: 'lock',
    metadata: { name: 'a' },
    spec: { target: { node } },
  });
  await refuses(/the proxy is locked/, lineOf(), judgeOf({ locks: [lock(proxyUuid)] }));
  assert.deepEqual(judgeOf({ locks: [lock(ours)] }).judge(await lineOf()), { remote });
});

test('the claim is read only as it was written: a person’s address and nothing beside it', async () => {
  const badRemotes = [
    { host: '', port: 1 },
    { host: 'x'.repeat(65), port: 1 },
    { host: '::1', port: 65_536 },
  ];
  for (const bad of badRemotes) await refuses(/word is malformed/, lineOf({ remote: bad }));
});

test('no line is believed that differs in a character from one that would be, and none throws', async () => {
  const line = await lineOf();
  assert.ok('refuse' in judgeOf().judge(`${line.slice(0, -1)}${line.endsWith('A') ? 'B' : 'A'}`));
  const edits = fc.record({ at: fc.nat(line.length - 1), to: fc.stringMatching(/^[\w.=+/ -]?$/) });
  fc.assert(
    fc.property(edits, ({ at, to }) => {
      const edited = line.slice(0, at) + to + line.slice(at + 1);
      if (edited === line) return;
      assert.ok('refuse' in judgeOf().judge(edited), edited);
    }),
    { numRuns: 500 },
  );
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
      assert.ok('refuse' in judgeOf().judge(text));
    }),
  );
});
