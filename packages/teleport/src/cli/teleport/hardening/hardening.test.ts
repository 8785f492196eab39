import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { waysAround } from './hardening.ts';
import { hostFiles } from './host-files.ts';

const roots: string[] = [];
after(() => {
  for (const root of roots) rmSync(root, { recursive: true });
});

/** A host of these files; a name that ends in "/" is a folder, `-> X` a link. */
async function host(files: Readonly<Record<string, string>>) {
  const root = mkdtempSync('/tmp/sallyport-hardening-');
  roots.push(root);
  for (const [path, text] of Object.entries(files)) {
    const at = join(root, path);
    mkdirSync(path.endsWith('/') ? at : dirname(at), { recursive: true });
    if (text.startsWith('-> ')) symlinkSync(text.slice(3), at);
    else if (!path.endsWith('/')) writeFileSync(at, text);
    if (path.endsWith('.sock')) chmodSync(at, 0o666);
  }
  return new Map((await waysAround(hostFiles(root))).map((way) => [way.name, way]));
}

const open: Readonly<Record<string, string>> = {
  'usr/bin/crontab': '',
  'usr/bin/at': '',
  'run/systemd/system/': '',
  'var/lib/systemd/linger/ada': '',
  'run/docker.sock': '',
  'proc/17/comm': 'sshd\n',
  'etc/group': 'root:x:0:\nsudo:x:27:ada,bob\ndocker:x:99:ada\nsome:x:100:ada\n',
  'etc/sudoers':
    'Defaults env_reset\nroot ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n%wheel ALL=(ALL) ALL\n@includedir /etc/sudoers.d\n',
  'etc/sudoers.d/one': 'carl ALL = (root) NOPASSWD: \\\n ALL\ndora ALL=(ALL) /bin/ls\n#eve ALL=(ALL) ALL\n',
  'etc/sudoers.d/not.read': 'eve ALL=(ALL) ALL\n',
  'proc/sys/user/max_user_namespaces': '15000\n',
  'proc/sys/kernel/yama/ptrace_scope': '0\n',
  'proc/sys/kernel/unprivileged_bpf_disabled': '0\n',
  'proc/modules': 'x 1 0 - Live 0\n',
  'proc/sys/kernel/modules_disabled': '0\n',
  'proc/sys/kernel/kexec_load_disabled': '0\n',
  'sys/kernel/security/lockdown': '[none] integrity confidentiality\n',
  'sys/kernel/security/lsm': 'lockdown,capability,yama\n',
};

test('a host as it comes has every way open, each with a reason and a fix', async () => {
  const ways = await host(open);
  for (const { name, closed, why, fix } of ways.values()) {
    assert.equal(closed, false, name);
    assert.ok(why !== '' && fix !== '', name);
  }
  const found = (name: string) => ways.get(name)?.found;
  assert.equal(found('lingering users'), 'ada');
  assert.equal(found('other ways to log in'), 'sshd runs');
  assert.equal(found('groups that make root'), 'sudo: ada bob; docker: ada');
  assert.equal(found('sudo to everything'), '%sudo, carl');
});

test('each fix closes its way', async () => {
  const ways = await host({
    ...{ 'usr/bin/crontab': '', 'etc/cron.allow': '', 'usr/bin/at': '', 'etc/at.allow': '\n' },
    ...{ 'run/systemd/system/': '', 'etc/systemd/system/user@.service': '-> /dev/null' },
    ...{ 'proc/17/comm': 'bash\n', 'etc/group': 'sudo:x:27:\n' },
    'etc/sudoers':
      'root ALL=(ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\nada ALL=(root) /usr/bin/systemctl restart web\n',
    'proc/sys/user/max_user_namespaces': '0\n',
    'proc/sys/kernel/yama/ptrace_scope': '2\n',
    'proc/sys/kernel/unprivileged_bpf_disabled': '2\n',
    ...{ 'proc/modules': '', 'proc/sys/kernel/kexec_load_disabled': '0\n' },
    'sys/kernel/security/lockdown': 'none [integrity] confidentiality\n',
    'sys/kernel/security/lsm': 'lockdown,capability,apparmor\n',
  });
  for (const { name, closed, fix, found } of ways.values())
    assert.ok(closed && fix === '', `${name}: ${found}`);
});

test('a name in an allow file keeps the way open for that name', async () => {
  const ways = await host({ 'usr/bin/crontab': '', 'etc/cron.allow': 'ada\n' });
  assert.deepEqual([ways.get('cron')?.found, ways.get('cron')?.closed], ['root and ada', false]);
  assert.equal(ways.get('at and batch')?.found, 'not installed');
});
