// Pre-flight: may this host record sessions in the kernel? A thin look at the host, and a pure judgement of
// what was seen, so that each missing condition has its own message wherever the tests run.
import type { Feature } from './recorder.ts';

export interface HostCondition {
  readonly name: string;
  readonly found: string;
  readonly needed: string;
  readonly ok: boolean;
  /** What to do about it; empty when ok. */
  readonly fix: string;
}

/** What was seen of the host. Undefined: it could not be found out. */
export interface HostFacts {
  /** As process.arch says. */
  readonly arch: string;
  /** uname -r */
  readonly kernelRelease: string;
  readonly effectiveUid: number;
  /** CapEff of /proc/self/status. */
  readonly capabilities: bigint | undefined;
  /** /sys/kernel/btf/vmlinux can be read. */
  readonly btf: boolean;
  /** Mount point of a cgroup v2 hierarchy. */
  readonly cgroup2Mount: string | undefined;
  /** /proc/filesystems lists cgroup2. */
  readonly cgroup2Known: boolean;
  readonly audit: 'settable' | 'immutable' | 'absent';
  /** `denied`: a seccomp filter or lockdown answers bpf(2) with an error. */
  readonly bpfSyscall: 'allowed' | 'denied' | 'unknown';
  /** What a trial load of the programs could attach; undefined when it was not tried. */
  readonly features: ReadonlySet<Feature> | undefined;
}

const architectures = new Map([
  ['x64', 'amd64'],
  ['arm64', 'arm64'],
]);

const capSysAdmin = 21n;
const capBpf = 39n;

/** The conditions in the order an operator should clear them. */
export function evaluateHost(facts: HostFacts): readonly HostCondition[] {
  return [
    architecture(facts),
    kernelVersion(facts),
    btf(facts),
    root(facts),
    bpfSyscall(facts),
    cgroup2(facts),
    auditIds(facts),
    ...(facts.features ? [coreHooks(facts.features)] : []),
  ];
}

function condition(name: string, needed: string, found: string, ok: boolean, fix: string): HostCondition {
  return { name, found, needed, ok, fix: ok ? '' : fix };
}

function architecture({ arch }: HostFacts): HostCondition {
  const name = architectures.get(arch);
  return condition(
    'architecture',
    'amd64 or arm64',
    name ?? arch,
    name !== undefined,
    'use an amd64 or arm64 host',
  );
}

function kernelVersion({ kernelRelease }: HostFacts): HostCondition {
  const [, major = '0', minor = '0'] = /^(\d+)\.(\d+)/.exec(kernelRelease) ?? [];
  // 5.8 brought the BPF ring buffer.
  const ok = Number(major) > 5 || (Number(major) === 5 && Number(minor) >= 8);
  return condition('kernel version', '5.8 or newer', kernelRelease, ok, 'boot a kernel of 5.8 or newer');
}

function btf(facts: HostFacts): HostCondition {
  return condition(
    'kernel type information (BTF)',
    '/sys/kernel/btf/vmlinux',
    facts.btf ? 'present' : 'absent',
    facts.btf,
    'boot a kernel built with CONFIG_DEBUG_INFO_BTF=y (the distribution kernels since 2021 are)',
  );
}

function root(facts: HostFacts): HostCondition {
  const found = facts.effectiveUid === 0 ? 'root' : `uid ${facts.effectiveUid}`;
  const capable =
    facts.capabilities === undefined || (facts.capabilities & ((1n << capSysAdmin) | (1n << capBpf))) !== 0n;
  return condition(
    'root',
    'root with CAP_BPF or CAP_SYS_ADMIN',
    facts.effectiveUid === 0 && !capable ? 'root without CAP_BPF and CAP_SYS_ADMIN' : found,
    facts.effectiveUid === 0 && capable,
    facts.effectiveUid === 0
      ? 'give the service CAP_SYS_ADMIN (a container needs --privileged)'
      : 'start the service as root',
  );
}

function bpfSyscall({ bpfSyscall: state, effectiveUid }: HostFacts): HostCondition {
  const untried = effectiveUid === 0 ? 'not tried: the recorder did not run' : 'not tried: needs root';
  const fix =
    effectiveUid === 0
      ? 'build the recorder with make, then see recorder --probe'
      : 'start the service as root';
  return condition(
    'bpf system call',
    'allowed',
    state === 'unknown' ? untried : state,
    state === 'allowed',
    state === 'denied'
      ? 'remove the seccomp filter or kernel lockdown that denies bpf(2) to this service'
      : fix,
  );
}

function cgroup2(facts: HostFacts): HostCondition {
  const mountable = facts.cgroup2Known && facts.effectiveUid === 0;
  const found = facts.cgroup2Mount ?? (facts.cgroup2Known ? 'not mounted' : 'unknown to this kernel');
  return condition(
    'cgroup v2',
    'mounted, or mountable',
    facts.cgroup2Mount === undefined && mountable ? 'not mounted, mountable' : found,
    facts.cgroup2Mount !== undefined || mountable,
    facts.cgroup2Known
      ? 'mount it: mkdir -p /cgroup2 && mount -t cgroup2 none /cgroup2'
      : 'boot a kernel built with CONFIG_CGROUPS=y',
  );
}

function auditIds(facts: HostFacts): HostCondition {
  const fix = {
    settable: '',
    absent: 'boot a kernel built with CONFIG_AUDIT=y',
    immutable: 'give the service CAP_AUDIT_CONTROL, and remove --loginuid-immutable from the audit rules',
  };
  return condition(
    'audit session ids',
    'settable',
    facts.audit,
    facts.audit === 'settable',
    fix[facts.audit],
  );
}

/** Without these there is no session to speak of; the others only widen what is seen. */
const core: readonly Feature[] = ['exec', 'exit', 'lineage'];

function coreHooks(features: ReadonlySet<Feature>): HostCondition {
  const missing = core.filter((feature) => !features.has(feature));
  return condition(
    'kernel hooks',
    core.join(', '),
    missing.length === 0 ? 'all attach' : `missing: ${missing.join(', ')}`,
    missing.length === 0,
    'see what recorder --probe prints; a kernel of 5.8 or newer with BTF and tracepoints attaches them',
  );
}

export interface EventHook {
  /** What is recorded. */
  readonly event: string;
  /** The hook that serves it on this host; undefined: it is not recorded here. */
  readonly hook: string | undefined;
}

/** Candidates best first. */
const hooks: readonly (readonly [event: string, ...candidates: readonly (readonly [Feature, string])[]])[] = [
  ['command', ['exec', 'tp_btf/sched_process_exec']],
  ['command that failed', ['sys_exit', 'tp_btf/sys_exit']],
  ['command exit', ['exit', 'tp_btf/sched_process_exit']],
  ['file open', ['open_tier1', 'security_file_open + do_filp_open'], ['sys_exit', 'tp_btf/sys_exit']],
  [
    'file open by io_uring',
    ['open_tier1', 'security_file_open + do_filp_open'],
    ['io_uring', 'io_uring tracepoint'],
  ],
  ['connect IPv4', ['connect4', 'cgroup/connect4']],
  ['connect IPv6', ['connect6', 'cgroup/connect6']],
  ['UDP send IPv4', ['sendmsg4', 'cgroup/sendmsg4']],
  ['UDP send IPv6', ['sendmsg6', 'cgroup/sendmsg6']],
  ['connect outcome, bytes', ['sock_state', 'tp_btf/inet_sock_set_state']],
  ['children of a session', ['lineage', 'tp_btf/task_newtask']],
  ['change of cgroup', ['cgroup_attach', 'tp_btf/cgroup_attach_task']],
];

/** Which hook serves each event; `features` from the recorder's hello or its --probe. */
export function eventHooks(features: ReadonlySet<Feature>): readonly EventHook[] {
  return hooks.map(([event, ...candidates]) => ({
    event,
    hook: candidates.find(([feature]) => features.has(feature))?.[1],
  }));
}
