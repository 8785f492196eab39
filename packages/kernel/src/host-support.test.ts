import assert from 'node:assert/strict';
import { test } from 'node:test';
import { capabilitiesIn, cgroup2MountIn, trialIn } from './host-probe.ts';
import { evaluateHost, eventHooks, type HostFacts } from './host-support.ts';
import type { Feature } from './recorder.ts';

const fine: HostFacts = {
  arch: 'x64',
  kernelRelease: '6.1.0-28-amd64',
  effectiveUid: 0,
  capabilities: (1n << 41n) - 1n,
  btf: true,
  cgroup2Mount: '/sys/fs/cgroup',
  cgroup2Known: true,
  audit: 'settable',
  bpfSyscall: 'allowed',
  features: new Set<Feature>(['exec', 'exit', 'lineage', 'sys_exit']),
};

const failing = (change: Partial<HostFacts>) => evaluateHost({ ...fine, ...change }).filter((c) => !c.ok);

test('a host that has everything passes, and asks for nothing', () => {
  assert.deepEqual(failing({}), []);
  assert.ok(evaluateHost(fine).every((c) => c.fix === '' && c.found !== '' && c.needed !== ''));
});

test('each missing condition has a message of its own that names the fix', () => {
  const cases: [Partial<HostFacts>, name: string, fix: RegExp][] = [
    [{ arch: 'riscv64' }, 'architecture', /amd64 or arm64/],
    [{ kernelRelease: '5.7.19' }, 'kernel version', /5\.8/],
    [{ btf: false }, 'kernel type information (BTF)', /CONFIG_DEBUG_INFO_BTF/],
    [{ effectiveUid: 1000 }, 'root', /as root/],
    [{ capabilities: 0n }, 'root', /CAP_SYS_ADMIN/],
    [{ bpfSyscall: 'denied' }, 'bpf system call', /seccomp/],
    [{ bpfSyscall: 'unknown' }, 'bpf system call', /with make/],
    [{ cgroup2Mount: undefined, cgroup2Known: false }, 'cgroup v2', /CONFIG_CGROUPS/],
    [{ audit: 'absent' }, 'audit session ids', /CONFIG_AUDIT/],
    [{ audit: 'immutable' }, 'audit session ids', /CAP_AUDIT_CONTROL/],
    [{ features: new Set<Feature>(['exec', 'exit']) }, 'kernel hooks', /--probe/],
  ];
  for (const [change, name, fix] of cases) {
    const [condition, ...others] = failing(change);
    assert.equal(condition?.name, name);
    assert.match(condition?.fix ?? '', fix);
    assert.deepEqual(others, [], name);
  }
  const fixes = cases.map(([change]) => failing(change)[0]?.fix);
  assert.equal(new Set(fixes).size, fixes.length);
});

test('a cgroup v2 that root can mount is enough', () => {
  assert.deepEqual(failing({ cgroup2Mount: undefined }), []);
  assert.match(
    failing({ cgroup2Mount: undefined, effectiveUid: 1000 }).find((c) => c.name === 'cgroup v2')?.fix ?? '',
    /mount -t cgroup2/,
  );
});

test('kernel versions are compared as numbers', () => {
  const ok = (kernelRelease: string) => failing({ kernelRelease }).length === 0;
  assert.deepEqual(
    ['5.8.0', '5.10.0-33-cloud-arm64', '6.18.44', '10.0', '5.7.99', '4.19.0', 'unreadable'].map(ok),
    [true, true, true, true, false, false, false],
  );
});

test('each event is served by the best hook that attaches', () => {
  const hookOf = (event: string, ...features: Feature[]) =>
    eventHooks(new Set(features)).find((each) => each.event === event)?.hook;
  assert.equal(hookOf('file open', 'sys_exit'), 'tp_btf/sys_exit');
  assert.equal(hookOf('file open', 'sys_exit', 'open_tier1'), 'security_file_open + do_filp_open');
  assert.equal(hookOf('connect IPv6', 'connect4'), undefined);
});

test('the cgroup v2 mount is found whatever optional fields mountinfo has', () => {
  const lines = [
    '24 1 8:1 / / rw - ext4 /dev/sda1 rw',
    '30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - tmpfs tmpfs rw',
    '31 30 0:27 / /my\\040cgroups rw shared:9 master:3 - cgroup2 cgroup2 rw,nsdelegate',
  ];
  assert.equal(cgroup2MountIn(lines.join('\n')), '/my cgroups');
  assert.equal(cgroup2MountIn(lines.slice(0, 2).join('\n')), undefined);
  assert.equal(cgroup2MountIn('garbage\n\n - cgroup2 '), undefined);
});

test('what a trial load printed becomes the set of features', () => {
  const line = (program: string, ok: boolean) => `${JSON.stringify({ program, required: true, ok })}\n`;
  const trial = trialIn(
    `${line('on_exec', true)}libbpf: noise\n${line('on_connect6', false)}${line('on_something_new', true)}`,
  );
  assert.equal(trial.bpfSyscall, 'allowed');
  assert.deepEqual([...(trial.features ?? [])], ['exec']);
  assert.equal(trialIn(line('on_exec', false) + line('on_exit', false)).bpfSyscall, 'denied');
  assert.equal(trialIn('').bpfSyscall, 'unknown');
});

test('effective capabilities are read from the status file', () => {
  assert.equal(capabilitiesIn('Name:\tx\nCapEff:\t000001ffffffffff\n'), 0x1ffffffffffn);
  assert.equal(capabilitiesIn(''), undefined);
});
