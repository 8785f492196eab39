// `teleport start` with enhanced recording on, on a host that lacks something: a host is taken away from it piece
// by piece, for real, and each piece has its own message. Nothing is started then.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { cannotLaunch } from '../../ssh/host.fixture.ts';
import { OneNode } from './one-node.fixture.ts';

const program = fileURLToPath(new URL('main.ts', import.meta.url));

describe('a start with enhanced recording on a host that lacks something', { skip: cannotLaunch() }, () => {
  let node: OneNode;
  before(async () => {
    node = await OneNode.create();
    await mkdir(join(node.folder, 'empty'));
    const known = await readFile('/proc/filesystems', 'utf8');
    await writeFile(join(node.folder, 'filesystems'), known.replace(/^.*cgroup2\n/m, ''));
  });
  after(() => node?.remove());

  /** `teleport start` below a shell line that ends in `exec "$@"`. Its status and what it said. */
  async function start(line: string, enhanced = true): Promise<{ status: number; said: string }> {
    const config = join(node.folder, 'teleport.yaml');
    await writeFile(
      config,
      node.yaml().replace('enabled: true\n    cgroup_path', `enabled: ${enhanced}\n    cgroup_path`),
    );
    const args = ['-c', line, 'sh', process.execPath, program, 'start', '-c', config];
    return new Promise((resolve) => {
      execFile('sh', args, { timeout: 30_000 }, (error, stdout, stderr) =>
        resolve({ status: Number(error?.code ?? 0), said: stdout + stderr }),
      );
    });
  }

  const inMounts = (change: string) => `exec unshare -m sh -c '${change} && exec "$@"' sh "$@"`;
  // Who has no login uid yet may set one; to change it takes the capability.
  const withoutAudit =
    'echo 0 >/proc/self/loginuid; exec setpriv --bounding-set -audit_control --inh-caps -audit_control "$@"';

  const lacks: readonly (readonly [what: string, () => string, message: RegExp])[] = [
    [
      'a kernel of 5.8',
      () => 'exec setarch --uname-2.6 "$@"',
      /kernel version: found 2\.6\.\S+, needed 5\.8/,
    ],
    [
      'BTF',
      () => inMounts(`mount --bind ${join(node.folder, 'empty')} /sys/kernel/btf`),
      /\(BTF\): found absent, .* CONFIG_DEBUG_INFO_BTF=y/,
    ],
    [
      'root’s capabilities',
      () => 'exec setpriv --bounding-set -sys_admin,-bpf --inh-caps -sys_admin,-bpf "$@"',
      /root: found root without CAP_BPF and CAP_SYS_ADMIN/,
    ],
    [
      'cgroup v2',
      () =>
        inMounts(`umount -a -t cgroup2; mount --bind ${join(node.folder, 'filesystems')} /proc/filesystems`),
      /cgroup v2: found unknown to this kernel/,
    ],
    ['settable audit ids', () => withoutAudit, /audit session ids: found immutable.*CAP_AUDIT_CONTROL/],
  ];

  for (const [what, line, message] of lacks) {
    test(`is refused without ${what}, and says so`, async () => {
      const { status, said } = await start(line());
      assert.notEqual(status, 0);
      assert.match(said, /Enhanced session recording is enabled and this host cannot do it/);
      assert.match(said, message);
      assert.equal(said.match(/Fix: /g)?.length, 1, `one condition, one message:\n${said}`);
      assert.match(said, /set ssh_service.enhanced_recording.enabled to false/);
      assert.equal(existsSync(join(node.dataDir, 'recorder.sock')), false);
    });
  }

  test('names all that is missing at once', async () => {
    const { status, said } = await start(
      inMounts(`mount --bind ${join(node.folder, 'empty')} /sys/kernel/btf; set -- setarch --uname-2.6 "$@"`),
    );
    assert.notEqual(status, 0);
    assert.equal(said.match(/Fix: /g)?.length, 2, said);
  });
});
