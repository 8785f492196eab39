// The systemd unit of the daemon, as text. Pure: a golden test holds it, `teleport install systemd` writes it.
//
// What is deliberately not in it: everything that systemd hands down to the children of a service. Sessions are such
// children, and NoNewPrivileges would break sudo in them, ProtectHome and ProtectSystem would hide their files,
// PrivateTmp would give them another /tmp, a capability bounding set or a system call filter would cripple root.

export interface UnitOptions {
  /** Absolute path of the program. */
  readonly teleport: string;
  readonly config: string;
  readonly pidFile: string;
  readonly envFile: string;
  readonly fdLimit: number;
}

/** Longer than `teleport reload` waits, which waits longer than a daemon for the next one; see docs/decisions/0019. */
const startSeconds = 90;
/** Sessions have 5 s to hang up, what waits for a disk a few more. */
const stopSeconds = 30;

export function systemdUnit({ teleport, config, pidFile, envFile, fdLimit }: UnitOptions): string {
  return `[Unit]
Description=Sallyport: SSH access with sessions recorded by the kernel
After=network-online.target nss-user-lookup.target time-sync.target
Wants=network-online.target
# Restart=always means always.
StartLimitIntervalSec=0

[Service]
# The daemon says when it is ready, and who is the main process after a reload (systemd-notify(1)).
Type=notify
NotifyAccess=all
EnvironmentFile=-${envFile}
ExecStart=${teleport} start --config ${config} --pid-file=${pidFile}
# A new daemon from the program and the configuration on disk; live sessions stay with the old one until they end. Waits
# for the outcome: a reload that changed nothing is one that failed.
ExecReload=${teleport} reload --pid-file=${pidFile}
Restart=always
RestartSec=2
TimeoutStartSec=${startSeconds}
TimeoutStopSec=${stopSeconds}
# The recorder outlives the daemon, and what users left running outlives both.
KillMode=process
SendSIGKILL=no
LimitNOFILE=${fdLimit}
TasksMax=infinity
# Not handed down: the launcher takes it off each session.
OOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target
`;
}
