// What the kernel lets users, and root, do to it: the record is made in there.
import { type HostFiles, sysctl } from './host-files.ts';
import type { Look } from './way.ts';

const userNamespaces: Look = {
  name: 'unprivileged user namespaces',
  why: 'in one of their own, users mount and configure like root: most ways from user to root of late years begin so',
  fix: 'sysctl -w user.max_user_namespaces=0 (Debian also: kernel.unprivileged_userns_clone=0); kept in /etc/sysctl.d',
  async look(files) {
    const closed =
      (await sysctl(files, 'user.max_user_namespaces')) === 0 ||
      (await sysctl(files, 'kernel.unprivileged_userns_clone')) === 0 ||
      (await sysctl(files, 'kernel.apparmor_restrict_unprivileged_userns')) === 1;
    return { found: closed ? 'refused' : 'allowed', closed };
  },
};

const ptrace: Look = {
  name: 'ptrace',
  why: 'a session can take over a process of the same user that is in no session, and work through it',
  fix: 'sysctl -w kernel.yama.ptrace_scope=2 (a kernel without Yama has no such setting: use an LSM policy)',
  async look(files) {
    const scope = await sysctl(files, 'kernel.yama.ptrace_scope');
    if (scope === undefined) return { found: 'no Yama: any process of the same user', closed: false };
    const found = ['any process of the same user', 'children only', 'root only', 'nobody'][scope];
    return { found: found ?? `scope ${scope}`, closed: scope >= 1 };
  },
};

const unprivilegedBpf: Look = {
  name: 'unprivileged BPF',
  why: 'programs of users in the kernel that the recorder’s programs run in',
  fix: 'sysctl -w kernel.unprivileged_bpf_disabled=1 (the recorder is root and is not affected)',
  async look(files) {
    const disabled = await sysctl(files, 'kernel.unprivileged_bpf_disabled');
    // Kernels without the setting (before 4.4) or without bpf(2) for users have nothing to close.
    const closed = disabled === undefined || disabled > 0;
    return { found: closed ? 'refused' : 'allowed', closed };
  },
};

const modules: Look = {
  name: 'kernel modules',
  why: 'root loads code that unhooks the recorder',
  fix: 'boot with lockdown=integrity (not confidentiality: it would blind the recorder) or module.sig_enforce=1; or sysctl -w kernel.modules_disabled=1 once all are loaded',
  async look(files) {
    if ((await files.text('/proc/modules')) === undefined)
      return { found: 'none can be loaded', closed: true };
    if ((await sysctl(files, 'kernel.modules_disabled')) === 1)
      return { found: 'no more can be loaded', closed: true };
    if ((await files.text('/sys/module/module/parameters/sig_enforce'))?.trim() === 'Y')
      return { found: 'signed ones only', closed: true };
    const locked = await lockdownOf(files);
    return locked
      ? { found: `signed ones only (lockdown ${locked})`, closed: true }
      : { found: 'any', closed: false };
  },
};

/** The chosen word stands in brackets; undefined: none. */
async function lockdownOf(files: HostFiles): Promise<string | undefined> {
  const word = /\[(\w+)\]/.exec((await files.text('/sys/kernel/security/lockdown')) ?? '')?.[1];
  return word === 'none' ? undefined : word;
}

const kexec: Look = {
  name: 'kexec',
  why: 'root starts another kernel, without recorder, under the running host',
  fix: 'sysctl -w kernel.kexec_load_disabled=1, or boot with lockdown=integrity',
  async look(files) {
    const disabled = await sysctl(files, 'kernel.kexec_load_disabled');
    if (disabled === undefined) return { found: 'not in this kernel', closed: true };
    const closed = disabled === 1 || (await lockdownOf(files)) !== undefined;
    return { found: closed ? 'refused' : 'allowed', closed };
  },
};

const securityModule: Look = {
  name: 'security module',
  why: 'recording sees, it does not hinder; a policy (AppArmor, SELinux) can keep users, and root, from what matters',
  fix: 'enable AppArmor or SELinux, and confine what users run',
  async look(files) {
    const active = ((await files.text('/sys/kernel/security/lsm')) ?? '').trim().split(',');
    const found = active.filter((name) => ['apparmor', 'selinux', 'smack', 'tomoyo'].includes(name));
    return { found: found.join(', ') || 'none', closed: found.length > 0 };
  },
};

export const kernelSurface: readonly Look[] = [
  userNamespaces,
  ptrace,
  unprivilegedBpf,
  modules,
  kexec,
  securityModule,
];
