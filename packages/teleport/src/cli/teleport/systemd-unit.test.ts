import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { systemdUnit } from './systemd-unit.ts';

const defaults = {
  teleport: '/usr/bin/teleport',
  config: '/etc/teleport.yaml',
  pidFile: '/run/teleport.pid',
  envFile: '/etc/default/teleport',
  fdLimit: 524_288,
};

test('the unit is this one', () => {
  assert.equal(
    systemdUnit(defaults)
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .join('\n'),
    `[Unit]
Description=Sallyport: SSH access with sessions recorded by the kernel
After=network-online.target nss-user-lookup.target time-sync.target
Wants=network-online.target
StartLimitIntervalSec=0
[Service]
Type=notify
NotifyAccess=all
EnvironmentFile=-/etc/default/teleport
ExecStart=/usr/bin/teleport start --config /etc/teleport.yaml --pid-file=/run/teleport.pid
ExecReload=/usr/bin/teleport reload --pid-file=/run/teleport.pid
Restart=always
RestartSec=2
TimeoutStartSec=90
TimeoutStopSec=30
KillMode=process
SendSIGKILL=no
LimitNOFILE=524288
TasksMax=infinity
OOMScoreAdjust=-900
[Install]
WantedBy=multi-user.target`,
  );
});

test('nothing that sessions would inherit and break on is in it', () => {
  const inherited =
    /^(NoNewPrivileges|Protect|Private|Restrict|CapabilityBounding|SystemCall|ReadOnly|MemoryDeny|Lock)/m;
  assert.doesNotMatch(systemdUnit(defaults), inherited);
});

const analyze = '/usr/bin/systemd-analyze';

test('systemd has nothing to say against it', {
  skip: !existsSync(analyze) && 'no systemd-analyze here',
}, () => {
  const folder = mkdtempSync(join(tmpdir(), 'sp-unit-'));
  try {
    const path = join(folder, 'teleport.service');
    const teleport = fileURLToPath(new URL('../../../bin/teleport', import.meta.url));
    writeFileSync(path, systemdUnit({ ...defaults, teleport }));
    const { status, stdout, stderr } = spawnSync(analyze, ['verify', '--man=no', path], { encoding: 'utf8' });
    const said = `${stdout}${stderr}`.split('\n').filter((line) => line.includes('teleport'));
    assert.deepEqual({ status, said }, { status: 0, said: [] });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
