/**
 * The Debian package under a systemd that is process 1: what its unit promises an operator holds. Sessions are OpenSSH's,
 * from another host, and recorded by the kernel.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { type Host, Network } from './network.ts';
import { type Event, type Ran, run, until } from './one-host.ts';
import { deb, oldVersion, own, PackageMaker, version } from './packages.ts';
import { SystemdMachine } from './systemd-machine.ts';

const port = 3022;
const configuration = `version: v3
teleport: {nodename: box, data_dir: /var/lib/teleport}
auth_service: {enabled: true, cluster_name: example.test, listen_addr: "127.0.0.1:3025"}
proxy_service: {enabled: false}
ssh_service:
  enabled: true
  listen_addr: 0.0.0.0:${port}
  pam: {enabled: true, service_name: teleport}
  enhanced_recording: {enabled: true}
`;
/** As Debian's own for log-ins: with the audit session's id, and systemd-logind's session. */
const pam = `account required pam_permit.so
session required pam_loginuid.so
session required pam_limits.so
@include common-session
`;

const skip =
  process.getuid?.() !== 0
    ? 'needs root'
    : !readFileSync('/proc/filesystems', 'utf8').includes('cgroup2') && 'needs cgroup v2';

/** Processes of the product. */
const ours = 'pgrep -x "recorder|launcher|node|MainThread"';

let folder: string;
let network: Network;
let desk: Host;
let box: SystemdMachine;
const lives: LiveSession[] = [];

describe('the service under systemd', { timeout: 400_000, skip }, () => {
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sallyport-systemd-'));
    const maker = new PackageMaker(folder);
    const packages = join(folder, 'packages');
    for (const each of [oldVersion, version])
      await maker.build('--arch', own, '--format=deb', '--version', each, '--out', packages);
    network = new Network(`spd${process.pid}`);
    desk = network.host('desk');
    box = await SystemdMachine.create(network.host('box'), folder);
    await box.boot();
    for (const each of [oldVersion, version])
      copyFileSync(join(packages, each, deb(each)), join(`/proc/${box.first}/root/root`, deb(each)));
  });
  after(async () => {
    for (const live of lives) live.kill();
    await box?.remove();
    network?.remove();
    await rm(folder, { recursive: true, force: true });
  });

  afterEach(async (context) => {
    if (!('passed' in context) || context.passed) return;
    console.log((await box.sh('journalctl --no-pager -n 60; ps -eo pid,ppid,stat,args')).stdout);
  });

  test('the package starts nothing; enabled and started it serves, as systemd sees it', async () => {
    await box.ok(`dpkg -i /root/${deb(oldVersion)}`);
    assert.deepEqual(await shown('ActiveState', 'UnitFileState'), ['inactive', 'disabled']);
    await box.ok(`useradd -m -s /bin/bash carol
cat >/etc/pam.d/teleport <<'END'
${pam}
END
cat >/etc/teleport.yaml <<'END'
${configuration}
END
systemctl enable --now teleport`);
    // Type=notify: the command came back when people can log in.
    await prepareAlice();
    const said = await ssh('echo served');
    assert.equal(said.stdout, 'served\n', said.stderr);
    assert.deepEqual(await shown('ActiveState', 'SubState', 'UnitFileState', 'Type', 'NRestarts'), [
      ...['active', 'running', 'enabled', 'notify', '0'],
    ]);
    const [main, status] = await shown('MainPID', 'StatusText');
    assert.equal(main, (await box.ok('cat /run/teleport.pid')).trim());
    assert.equal(status, `version ${oldVersion} serves`);
    // LimitNOFILE, or all that this machine allows.
    const files = /^Max open files +(\d+) +(\d+)/m;
    const [, soft = '', hard] = files.exec(await box.ok(`cat /proc/${main}/limits`)) ?? [];
    const [, , most] = files.exec(await box.ok('cat /proc/1/limits')) ?? [];
    assert.deepEqual([soft, hard], [soft, soft], 'both limits are one');
    assert.equal(Number(soft), Math.min(524_288, Number(most)));
    // `teleport install systemd` writes what the package brings.
    const unit = (text: string) => text.split('\n').filter((line) => /^\w+=/.test(line));
    const installed = box.read('/lib/systemd/system/teleport.service');
    assert.deepEqual(unit(await box.ok('teleport install systemd')), unit(installed));
  });

  test('its journal reads as lines of text, and `systemctl status` shows them', async () => {
    const lines = (await box.ok('journalctl -u teleport -o cat')).trim().split('\n');
    const own = lines.filter((line) => /^\d{4}-\d\d-\d\dT\S+Z (INFO|WARN|ERROR) /.test(line));
    assert.ok(
      own.some((line) => line.includes('the ssh service listens')),
      lines.join('\n'),
    );
    assert.ok(
      lines.every((line) => !line.includes('\u001b')),
      'a journal has no colours',
    );
    assert.match(
      await box.ok('systemctl status teleport --no-pager'),
      /Active: active \(running\).*INFO {2}/s,
    );
  });

  test('a session is recorded by the kernel, and inherits nothing of the service', async () => {
    const facts = await ssh(
      `cat /proc/self/loginuid; echo; grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status; cat /proc/self/oom_score_adj
       ulimit -Sn; echo $XDG_SESSION_ID; tail -1 /proc/self/cgroup; ls -d /home/carol /tmp/systemd-private-* | head -1`,
      'carol',
    );
    const [loginuid, privileges, seccomp, score, files, logind, cgroup, home] = facts.stdout.split(/\n/);
    assert.equal(loginuid, (await box.ok('id -u carol')).trim(), facts.stdout);
    assert.deepEqual([privileges, seccomp], ['NoNewPrivs:\t0', 'Seccomp:\t0']);
    assert.deepEqual([score, files, home], ['0', '1024', '/home/carol']);
    assert.match(logind ?? '', /^\d+$/, 'systemd-logind knows the session');
    const events = await ended('loginuid');
    assertWhole(events);
    assert.equal(cgroup, `0::/teleport/${events[0]?.['sid']}`);
    const commands = events.filter(({ event }) => event === 'session.command').map((event) => event['path']);
    assert.ok(
      commands.some((path) => String(path).endsWith('/cat')),
      String(commands),
    );
    // logind's number for the session is the kernel's audit session.
    assert.equal(
      String(events.find(({ event }) => event === 'session.command')?.['audit_session_id']),
      logind,
    );
  });

  test('`systemctl reload` returns when a new daemon serves; the session of before lives on, and nothing of it is killed', async () => {
    const live = await begin('reloaded');
    const before = await mainPid();
    const recorder = await box.ok('pgrep -x recorder');
    await box.ok('systemctl reload teleport');
    const now = await mainPid();
    assert.notEqual(now, before);
    assert.equal((await box.ok('cat /run/teleport.pid')).trim(), now);
    await box.ok(`kill -0 ${before} ${now}`);
    assert.equal(await box.ok('pgrep -x recorder'), recorder);
    assert.deepEqual(await shown('ActiveState', 'SubState', 'NRestarts'), ['active', 'running', '0']);
    await live.echoes('after the reload');
    assert.equal((await ssh('echo next')).stdout, 'next\n');
    assert.equal(await live.end(), 0);
    assertWhole(await ended('reloaded'));
    await gone(before);
    assert.deepEqual([await mainPid(), ...(await shown('ActiveState', 'NRestarts'))], [now, 'active', '0']);
  });

  test('a reload that cannot be says so to systemctl, and changes nothing', async () => {
    const before = await mainPid();
    await box.ok("sed -i 's/^  enabled: true/  enabled: perhaps/' /etc/teleport.yaml");
    const tried = await box.sh('systemctl reload teleport');
    assert.notEqual(tried.status, 0);
    assert.match(
      await box.ok('journalctl -u teleport -o cat -n 20'),
      /ERROR the reload failed.*teleport\.yaml:\d+:\d+/,
    );
    assert.deepEqual([await mainPid(), ...(await shown('ActiveState'))], [before, 'active']);
    await box.ok("sed -i 's/^  enabled: perhaps/  enabled: true/' /etc/teleport.yaml");
    assert.equal((await ssh('echo still')).stdout, 'still\n');
  });

  test('dpkg -i of a newer version hands over under a live session', async () => {
    const live = await begin('upgraded');
    const before = await mainPid();
    await box.ok(`dpkg -i /root/${deb(version)}`);
    const now = await mainPid();
    assert.notEqual(now, before, 'the package had systemd reload');
    assert.match(await box.ok(`readlink /proc/${now}/exe`), new RegExp(`/sallyport/${version}/`));
    assert.deepEqual(await shown('ActiveState', 'StatusText'), ['active', `version ${version} serves`]);
    await live.echoes('under the new version');
    assert.equal((await ssh('echo newer')).stdout, 'newer\n');
    assert.equal(await live.end(), 0);
    assertWhole(await ended('upgraded'));
    await gone(before);
  });

  test('a new daemon that is killed beside the old one is replaced by it, and systemd follows', async () => {
    const live = await begin('beside');
    const before = await mainPid();
    await box.ok('systemctl reload teleport');
    const killed = await mainPid();
    await box.ok(`kill -9 ${killed}`);
    const third = await until(
      'another one serves',
      async () => {
        const [main = '', state] = await shown('MainPID', 'SubState');
        return ![before, killed].includes(main) && state === 'running' && main;
      },
      60_000,
    );
    assert.equal((await box.ok('cat /run/teleport.pid')).trim(), third);
    await live.echoes('beside a third');
    assert.equal((await ssh('echo third')).stdout, 'third\n');
    assert.equal(await live.end(), 0);
    assertWhole(await ended('beside'));
    await gone(before);
    assert.deepEqual([await mainPid(), ...(await shown('ActiveState', 'NRestarts'))], [third, 'active', '0']);
  });

  test('kill -9 of the main process: systemd starts it again, and the record is finished', async () => {
    const live = await begin('killed');
    const recorder = await box.ok('pgrep -x recorder');
    const before = await mainPid();
    await box.ok(`kill -9 ${before}`);
    await until(
      'systemd has started it again',
      async () => (await shown('NRestarts', 'SubState')).join() === '1,running',
      60_000,
    );
    assert.notEqual(await mainPid(), before);
    assert.equal(await box.ok('pgrep -x recorder'), recorder, 'the recorder has outlived it');
    const events = await ended('killed');
    assert.equal(events.at(-1)?.['interrupted'], true);
    assertWhole(events);
    assert.notEqual(await live.closed, 0);
    assert.equal((await ssh('echo again')).stdout, 'again\n');
  });

  test('a restart and a stop end live sessions in order: each is told, and has its session.end', async () => {
    for (const [verb, state] of [
      ['restart', 'active'],
      ['stop', 'inactive'],
    ] as const) {
      const live = await begin(`${verb}ed`);
      const idle = await begin(`${verb}ed-too`);
      await box.ok(`systemctl ${verb} teleport`);
      for (const each of [live, idle]) {
        assert.notEqual(await each.closed, 0);
        assert.match(each.said, /The node is going down/);
      }
      assert.deepEqual(await shown('ActiveState', 'Result', 'NRestarts'), [state, 'success', '0']);
      for (const name of [`${verb}ed`, `${verb}ed-too`]) {
        const events = await ended(name);
        assert.equal('interrupted' in (events.at(-1) ?? {}), false, verb);
        assertWhole(events);
      }
    }
    assert.equal((await box.sh(ours)).stdout, '', 'nothing of it runs');
  });

  test('what a session left running outlives a stop, stays recorded, and is finished after the next start', async () => {
    await box.ok('systemctl start teleport');
    const live = await begin('left', 'setsid /bin/sleep 600 >/dev/null 2>&1 </dev/null & ');
    await box.ok('systemctl stop teleport');
    await live.closed;
    await box.ok('pgrep -x recorder && pgrep -x sleep');
    await box.ok('systemctl start teleport');
    await box.ok('pkill -x sleep');
    const events = await ended('left');
    assertWhole(events);
    const exit = events.find(({ event, program }) => event === 'session.command.exit' && program === 'sleep');
    assert.ok(exit, 'its end is recorded');
  });

  test('a reboot tells live sessions, ends them in order, and brings the service up again', async () => {
    const live = await begin('rebooted');
    await box.reboot();
    await live.closed;
    // By systemd's wall message, or by us: session scopes of logind and the service are stopped at the same time.
    assert.match(live.said, /The (system will reboot now|node is going down)/);
    await until('it serves', async () => (await shown('ActiveState')).join() === 'active', 30_000);
    assert.equal((await ssh('echo up')).stdout, 'up\n');
    const events = await ended('rebooted');
    assert.equal('interrupted' in (events.at(-1) ?? {}), false);
    assertWhole(events);
  });

  test('dpkg --purge under a live session ends it in order, and leaves nothing behind', async () => {
    const live = await begin('purged');
    await box.ok('DEBIAN_FRONTEND=noninteractive dpkg --purge sallyport </dev/null');
    assert.notEqual(await live.closed, 0);
    assert.match(live.said, /The node is going down/);
    assert.deepEqual(await shown('LoadState', 'ActiveState'), ['not-found', 'inactive']);
    assert.equal(await box.ok('systemctl --failed --no-legend'), '');
    assert.equal((await box.sh(ours)).stdout, '', 'nothing of it runs');
    const places = '/sys/fs/bpf/sallyport* /sys/fs/cgroup/teleport/*/ /var/lib/teleport /usr/lib/sallyport';
    const wanted = '/etc/systemd/system/multi-user.target.wants/teleport.service';
    assert.equal((await box.sh(`ls -d ${places} ${wanted} 2>/dev/null`)).stdout, '');
    await box.ok('test -e /etc/teleport.yaml');
  });
});

/** Properties of the unit, in the order asked for. */
async function shown(...names: string[]): Promise<string[]> {
  const text = await box.ok(`systemctl show teleport ${names.map((name) => `-p ${name}`).join(' ')}`);
  const values = new Map(
    text
      .trim()
      .split('\n')
      .map((line) => line.split(/=(.*)/s) as [string, string]),
  );
  return names.map((name) => values.get(name) ?? '');
}

/** A process of the machine, which ends by itself. */
async function gone(pid: string): Promise<void> {
  await until(`process ${pid} has left`, async () => (await box.sh(`kill -0 ${pid}`)).status !== 0, 30_000);
}

async function mainPid(): Promise<string> {
  return (await shown('MainPID'))[0] ?? '';
}

/** Her certificate, at the desk. */
async function prepareAlice(): Promise<void> {
  await box.ok('tctl users add alice --logins=root,carol --roles=access');
  await box.ok('tctl auth sign --user=alice --out=/root/alice --ttl=1h');
  for (const name of ['alice', 'alice-cert.pub', 'alice-known_hosts'])
    copyFileSync(join(`/proc/${box.first}/root/root`, name), join(folder, name));
}

function sshArguments(login: string, command: string, ...flags: string[]): [string, ...string[]] {
  const identity = join(folder, 'alice');
  const options = `-F none -i ${identity} -o CertificateFile=${identity}-cert.pub -o IdentitiesOnly=yes
    -o UserKnownHostsFile=${identity}-known_hosts -o HostKeyAlias=box -o BatchMode=yes -o LogLevel=ERROR -p ${port}`;
  const line = ['ssh', ...options.split(/\s+/), ...flags, `${login}@${box.host.address}`, command];
  return [...desk.enter, ...line] as unknown as [string, ...string[]];
}

function ssh(command: string, login = 'root'): Promise<Ran> {
  const [file, ...args] = sshArguments(login, command);
  return run(file, args);
}

async function events(): Promise<Event[]> {
  const text = await box.ok('cat /var/lib/teleport/log/*/*.log');
  // What stands behind the last line's end is still being written.
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Event);
}

/** Everything of the session whose command holds that sign, once it has ended. */
function ended(sign: string): Promise<Event[]> {
  return until(
    `the session "${sign}" has its session.end`,
    async () => {
      const all = await events();
      const start = all.find(
        (each) => each.event === 'session.start' && String(each['initial_command']).includes(sign),
      );
      const own = all.filter((each) => each['sid'] === start?.['sid']);
      return start !== undefined && own.some(({ event }) => event === 'session.end') && own;
    },
    30_000,
  );
}

/** Recorded by the kernel from the first command on, and nothing of it lost or doubted. */
function assertWhole(own: readonly Event[]): void {
  const end = own.find(({ event }) => event === 'session.end');
  assert.equal(end?.['enhanced_recording'], true, JSON.stringify(end));
  const odd = own.filter(({ event }) => /session\.(attribution|events_lost|recording_failed)/.test(event));
  assert.deepEqual(odd, []);
  const numbers = own.flatMap(({ seq }) => (typeof seq === 'number' ? [seq] : [])).sort((a, b) => a - b);
  assert.deepEqual(
    numbers,
    numbers.map((_, index) => index + 1),
    'a record is missing or there twice',
  );
}

/** `first`: what its shell does before. */
async function begin(sign: string, first = ''): Promise<LiveSession> {
  const live = new LiveSession(`: ${sign}; ${first}/bin/cat`);
  lives.push(live);
  await live.echoes('begun');
  return live;
}

/** `cat` on a terminal: what is typed comes back for as long as the session lives. */
class LiveSession {
  /** Resolves with the client's exit status. */
  readonly closed: Promise<number | null>;
  readonly #client: ChildProcess;
  #said = '';

  constructor(command: string) {
    const [file, ...args] = sshArguments('carol', command, '-tt');
    this.#client = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    for (const stream of [this.#client.stdout, this.#client.stderr])
      stream?.setEncoding('utf8').on('data', (text) => {
        this.#said += text;
      });
    this.closed = new Promise((resolve) => this.#client.once('close', resolve));
  }

  get said(): string {
    return this.#said;
  }

  async echoes(text: string): Promise<void> {
    this.#client.stdin?.write(`${text}\n`);
    // Once by the terminal, once by cat.
    await until(`the session says "${text}"`, () => this.#said.split(text).length > 2, 30_000).catch(
      (thrown) => {
        throw new Error(`${thrown}\n${this.#said}`);
      },
    );
  }

  end(): Promise<number | null> {
    this.#client.stdin?.write('\u0004');
    return this.closed;
  }

  kill(): void {
    this.#client.kill();
  }
}
