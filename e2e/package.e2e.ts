/**
 * Packages as an operator meets them: built, put beside a running proxy, installed with its install.sh on a fresh
 * Debian host, configured, joined, used, upgraded under a live session, removed, purged. Refusals leave the host as
 * it was.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { sysrootOf } from '../tools/package/native.ts';
import { signFolder } from '../tools/package/signature.ts';
import { Cluster } from './cluster.ts';
import { DebianHost } from './debian-host.ts';
import { cgroup2Mount } from './host-remains.ts';
import { repository, run, until } from './one-host.ts';
import { deb, oldVersion, own, PackageMaker, version } from './packages.ts';

const rootPath = `/sallyport-${process.pid}-fleet`;

let folder: string;
let packages: string;
let maker: PackageMaker;
let cluster: Cluster;
let host: DebianHost;
let proxy: string;
let pin: string;

/**
 * A release of another version: a package without content that claims to unpack to 100 TB; `change`d after it was
 * signed, and signed anew or not.
 */
async function forged(
  name: string,
  change: (folder: string) => void = () => {},
  again = false,
): Promise<void> {
  const release = join(packages, name);
  const stage = join(folder, `stage-${name}`);
  mkdirSync(join(stage, 'DEBIAN'), { recursive: true });
  mkdirSync(release);
  const control = {
    Package: 'sallyport',
    Version: name,
    Architecture: own,
    Maintainer: 'x',
    Description: 'x',
  };
  const fields = Object.entries({ ...control, 'Installed-Size': '99999999999' });
  writeFileSync(join(stage, 'DEBIAN/control'), fields.map(([key, value]) => `${key}: ${value}\n`).join(''));
  await run('dpkg-deb', ['-Znone', '--build', stage, join(release, deb(name))]);
  const sign = () =>
    signFolder(release, { key: createPrivateKey(readFileSync(maker.keyFile)), publicKey: '' });
  sign();
  change(release);
  if (again) sign();
}

const install = (...args: string[]) =>
  `curl -fsSk "https://${proxy}/scripts/install.sh" | bash -s -- ${args.join(' ')}`;

async function tctl(...args: string[]): Promise<string> {
  return cluster.tctlOk(...args);
}

/** `ssh -J` from the desk to the node, by alice's certificate. */
function ssh(...command: string[]): string[] {
  const identity = join(folder, 'alice');
  const options = `-F none -i ${identity} -o CertificateFile=${identity}-cert.pub -o IdentitiesOnly=yes
    -o UserKnownHostsFile=${identity}-known_hosts -o BatchMode=yes -o LogLevel=ERROR`;
  const jump = `ssh ${options} -p 3023 -W %h:%p alice@${proxy.replace(/:.*/, '')}`.replace(/\s+/g, ' ');
  return ['ssh', ...options.split(/\s+/), '-o', `ProxyCommand=${jump}`, 'root@fleet-1', ...command];
}

async function starts(): Promise<void> {
  await host.ok(
    'setsid teleport start --config /etc/teleport.yaml --pid-file=/run/teleport.pid >>/var/log/teleport.log 2>&1 </dev/null &',
  );
  await until(
    'the node listens',
    () => {
      const log = host.read('/var/log/teleport.log');
      if (/ERROR/.test(log)) throw new Error(log.slice(-3000));
      return host.read('/run/teleport.pid') !== '';
    },
    30_000,
  );
  await until('the cluster knows the node', async () =>
    (await tctl('nodes', 'ls', '--format=json')).includes('fleet-1'),
  );
}

const skip = process.getuid?.() === 0 ? false : 'needs root';

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sallyport-package-'));
  packages = join(folder, 'packages');
  maker = new PackageMaker(folder);
  await maker.build('--arch', own, '--format=deb,tar,npm', '--out', packages);
});
after(() => rm(folder, { recursive: true, force: true }));

describe('packages', { timeout: 400_000, skip }, () => {
  before(async () => {
    await maker.build('--arch', own, '--format=deb', '--version', oldVersion, '--out', packages);
    cluster = await Cluster.create();
    const auth = await cluster.machine('auth', ({ address }) => ({
      nodename: 'auth',
      services: `auth_service:
  enabled: true
  cluster_name: example.test
  listen_addr: ${address}:3025
proxy_service:
  enabled: true
  public_addr: "${address}:3080"
  packages: {dir: ${packages}, key_file: ${join(packages, version, 'release.pub')}}`,
    }));
    await auth.start(/the ssh service is off/);
    proxy = `${auth.host.address}:3080`;
    pin = JSON.parse(await tctl('status', '--format=json')).ca_pin;
    await tctl('users', 'add', 'alice', '--logins=root', '--roles=access');
    await tctl('auth', 'sign', '--user=alice', `--out=${join(folder, 'alice')}`, '--ttl=1h');
    host = await DebianHost.create(cluster.network.host('fleet'), folder);
    host.cgroup(join((await cgroup2Mount()) ?? '/cgroup2', rootPath));
  });
  after(async () => {
    await host?.remove();
    await cluster?.remove();
  });

  test("the documented lines find the cluster's version, and every edition but one is refused", async () => {
    const lines = [
      `curl -sk https://${proxy}/v1/webapi/automaticupgrades/channel/default/version | sed 's/v//'`,
      `curl -sk https://${proxy}/v1/webapi/ping | jq -r '.server_version'`,
      `curl -sk https://${proxy}/v1/webapi/find | jq -r '.server_version'`,
    ];
    for (const line of lines) assert.equal((await host.ok(line)).trim(), version, line);
    assert.equal(
      await host.ok(`curl -sk https://${proxy}/v1/webapi/automaticupgrades/channel/default/critical`),
      'no',
    );
    assert.match((await host.sh(install(version, 'enterprise'))).stderr, /no edition "enterprise"/);
  });

  test('a dry run checks everything, needs no root and changes nothing', async () => {
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    await forged('9.9.6');
    const tried = await host.sh(install('9.9.6', '--dry-run'), { under: nobody });
    assert.equal(tried.status, 0, tried.stderr);
    assert.match(tried.stderr, /Checksum and signature are right/);
    assert.match((await host.sh(install(), { under: nobody })).stderr, /needs root/);
    assert.deepEqual(await host.changed(), []);
  });

  test('what is wrong is refused with its reason, and the host stays as it was', async () => {
    await forged('9.9.1', (release) => appendFileSync(join(release, deb('9.9.1')), 'x'));
    await forged('9.9.2', (release) => appendFileSync(join(release, 'SHA256SUMS'), `${'0'.repeat(64)}  x\n`));
    const hide = (release: string) => renameSync(join(release, deb('9.9.3')), join(release, 'other.deb'));
    await forged('9.9.3', hide, true);
    await forged('9.9.4', (release) => rmSync(join(release, deb('9.9.4'))));
    const tries: [string, RegExp, string[]?][] = [
      [install('9.9.1'), /checksum/],
      [install('9.9.2'), /does not bear the signature/],
      // ssh-keygen in place of openssl says the same.
      [
        `mkdir -p /run/bin && printf '#!/bin/sh\\necho OpenSSL 1.1.1' >/run/bin/openssl && chmod +x /run/bin/openssl
        PATH=/run/bin:$PATH; ${install('9.9.2')}`,
        /does not bear the signature/,
      ],
      [install('9.9.3'), /the release has no/],
      [install('9.9.4'), /cannot be fetched/],
      [install('9.9.5'), /cannot be fetched/],
      [install("'1;x'"), /is not a version/],
      [install('--mirror=http://127.0.0.1:9'), /cannot be fetched/],
      [install(), /no package for this processor \(i686\)/, ['linux32']],
      [install('9.9.6'), /there is no room in \/usr\/lib: \d+ MiB are free and \d{8,} MiB are needed/],
      [`curl -fsSk "https://${proxy}/scripts/install.sh" | head -c 9000 | bash`, /unexpected|^$/],
      [
        `curl -sk "https://${proxy}/packages/${version}/..%2f..%2frelease-key.pem" | grep -o "no such package" >&2; false`,
        /no such package/,
      ],
    ];
    for (const [line, reason, under] of tries) {
      const tried = await host.sh(line, { under: under ?? [] });
      assert.match(tried.stderr, reason, line);
      if (!line.includes('head -c')) assert.notEqual(tried.status, 0, line);
    }
    assert.deepEqual(await host.changed(), []);
    assert.equal((await host.sh('dpkg-query -W sallyport')).status, 1);
  });

  test('ssh-keygen verifies a release where openssl is too old', async () => {
    const tried = await host.sh(`PATH=/run/bin:$PATH; ${install('9.9.6', '--dry-run')}`);
    assert.match(tried.stderr, /Checksum and signature are right/, tried.stderr);
  });

  test('installs a version that was asked for, which joins by a proxy and records a session', async () => {
    const said = await host.ok(install(`v${oldVersion}`, 'oss'));
    assert.match(said, new RegExp(`Installed: Sallyport teleport v${oldVersion}`));
    assert.ok(said.includes(`--proxy=${proxy} --token=TOKEN --ca-pin=${pin}`), said);
    const [token] = JSON.parse(await tctl('nodes', 'add', '--ttl=5m', '--roles=node', '--format=json'));
    const flags = `--nodename=fleet-1 --labels=env=fleet --enhanced-recording --output=file`;
    await host.ok(`teleport node configure --proxy=${proxy} --token=${token} --ca-pin=${pin} ${flags}`);
    await host.ok(
      `sed -i 's|# root_path: .*|root_path: ${rootPath}|' /etc/teleport.yaml && teleport configure --test=/etc/teleport.yaml`,
    );
    await starts();
    const ran = await cluster.at(cluster.desk, ssh('/bin/echo', 'from the package'));
    assert.equal(ran.stdout, 'from the package\n', ran.stderr);
    const end = await until('session.end', async () =>
      (await cluster.events()).find(({ event, user }) => event === 'session.end' && user === 'alice'),
    );
    assert.equal(end['enhanced_recording'], true, JSON.stringify(end));
    const commands = (await cluster.events()).filter(({ event }) => event === 'session.command');
    assert.ok(
      commands.some(({ path }) => path === '/usr/bin/echo' || path === '/bin/echo'),
      JSON.stringify(commands),
    );
  });

  test('upgrades under a live session, which goes on; the daemon too, until it is told', async () => {
    const [file = '', ...args] = [...cluster.desk.enter, ...ssh('cat')];
    const live = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    let shown = '';
    live.stdout.setEncoding('utf8').on('data', (text) => (shown += text));
    live.stdin.write('before\n');
    await until('the session runs', () => shown.includes('before'));
    const daemon = await host.ok('cat /run/teleport.pid');
    const said = await host.ok(install());
    assert.match(said, new RegExp(`Installed: Sallyport teleport v${version}`));
    assert.equal(await host.ok('cat /run/teleport.pid'), daemon);
    await host.ok(`kill -0 ${daemon}`);
    assert.equal(
      (await host.ok('ls /usr/lib/sallyport')).trim(),
      `${oldVersion}\n${version}`,
      'the version in use stays',
    );
    live.stdin.write('under the old daemon\n');
    await until('the session lives on', () => shown.includes('under the old daemon'));
    await host.ok('teleport reload');
    const heir = await host.ok('cat /run/teleport.pid');
    assert.notEqual(heir, daemon);
    assert.match(await host.ok(`readlink /proc/${heir.trim()}/exe`), new RegExp(`/${version}/`));
    await host.ok(`kill -0 ${daemon}`);
    live.stdin.write('beside the new one\n');
    await until('the session lives on', () => shown.includes('beside the new one'));
    const anew = await until('a session of the new daemon', async () => {
      const ran = await cluster.at(cluster.desk, ssh('/bin/echo', 'anew'));
      return ran.stdout === 'anew\n' && ran;
    });
    assert.equal(anew.status, 0);
    live.stdin.end();
    await until('it ends as it should', () => live.exitCode === 0);
    await until('the old daemon leaves', () => !existsSync(`/proc/${daemon.trim()}`), 30_000);
    const ends = await until('the session.end of each', async () => {
      const found = (await cluster.events()).filter(({ event }) => event === 'session.end');
      return found.length >= 3 && found;
    });
    for (const end of ends) assert.equal(end['enhanced_recording'], true, JSON.stringify(end));
    assert.match(await host.ok(install()), /is installed already/);
  });

  test('where systemd runs, an upgrade has the service hand over', async () => {
    // Nothing here is process 1: a systemctl that does what the unit's ExecReload does.
    const systemctl = `#!/bin/sh
echo "$@" >>/run/stub/calls
case "$*" in reload*) exec teleport reload ;; esac`;
    await host.ok(`mkdir -p /run/systemd/system /run/stub && cat >/run/stub/systemctl <<'END' && chmod +x /run/stub/systemctl
${systemctl}
END`);
    const daemon = host.read('/run/teleport.pid');
    await host.ok(`PATH=/run/stub:$PATH /var/lib/dpkg/info/sallyport.postinst configure ${oldVersion}`);
    const calls = ['daemon-reload', '--quiet is-active teleport.service', 'reload teleport.service'];
    assert.equal(host.read('/run/stub/calls'), `${calls.join('\n')}\n`);
    assert.notEqual(host.read('/run/teleport.pid'), daemon);
    await host.ok('rm -r /run/systemd /run/stub');
  });

  test('removal stops the daemon and leaves configuration and evidence; a new installation goes on from there', async () => {
    await host.ok('dpkg --remove sallyport');
    assert.deepEqual(await host.processes(), [], 'nothing of it runs');
    const left = await host.changed();
    assert.ok(
      left.includes('etc/teleport.yaml') && left.includes('var/lib/teleport/host_uuid'),
      left.join('\n'),
    );
    assert.ok(
      left.every((path) => /^(etc\/(teleport\.yaml|default\/teleport)|var\/lib\/teleport\/)/.test(path)),
      left.join('\n'),
    );
    const uuid = await host.ok('cat /var/lib/teleport/host_uuid');
    await host.ok(install());
    await starts();
    assert.equal(await host.ok('cat /var/lib/teleport/host_uuid'), uuid);
    const ran = await cluster.at(cluster.desk, ssh('/bin/echo', 'back'));
    assert.equal(ran.stdout, 'back\n', ran.stderr);
  });

  test('purging asks nothing and takes away what is ours, and only that', async () => {
    await host.ok('echo mine > /var/lib/teleport/notes.txt');
    await host.ok('DEBIAN_FRONTEND=noninteractive dpkg --purge sallyport </dev/null');
    assert.deepEqual(await host.processes(), []);
    assert.deepEqual(await host.changed(), ['etc/teleport.yaml', 'var/lib/teleport/notes.txt']);
    await host.ok('rm -r /etc/teleport.yaml /var/lib/teleport');
  });

  test('purging follows data_dir of the configuration, and clears no folder that is not plainly a daemon’s', async () => {
    const script = readFileSync(join(repository, 'tools/package/deb/postrm'), 'utf8');
    await host.ok(`cat >/run/postrm <<'END'\n${script}\nEND`);
    /** What is left of a folder that looks like a daemon's, after a purge with that configuration. */
    const purged = async (folder: string, yaml: string, before = ':'): Promise<string> => {
      const lines = [
        `mkdir -p ${folder}/log ${folder}/outbox-2 && touch ${folder}/host_uuid ${folder}/notes.txt && ${before}`,
        `cat >/etc/teleport.yaml <<'END'\n${yaml}\nEND`,
        'sh /run/postrm purge',
        `(cd ${folder} 2>/dev/null && echo log host_uuid outbox-2 notes.txt | xargs -n1 ls -d 2>/dev/null | xargs echo "left:")`,
        `rm -rf ${folder}/host_uuid ${folder}/outbox-2 ${folder}/notes.txt`,
      ];
      return host.ok(lines.join('\n'));
    };
    const plain = '/srv/cluster/state';
    const named = [
      `teleport:\n  # data_dir: /srv/other\n  data_dir: ${plain}   # ours`,
      `teleport: {nodename: n, data_dir: ${plain}}`,
      `teleport: {data_dir: "${plain}/", nodename: n}`,
      `teleport:\n  data_dir: '${plain}'`,
    ];
    for (const yaml of named) assert.match(await purged(plain, yaml), /left: notes\.txt\n/, yaml);
    const refused: [string, string, RegExp, string?][] = [
      ['/var', '/var', /it is the system's/],
      ['/usr/lib/x', '/usr/lib/x', /it is the system's/],
      ['/home', '/home', /it is the system's/],
      ['/', '/', /left: log/],
      ['/srv/a', '/srv/b/../a', /its path leads elsewhere/, 'mkdir -p /srv/b'],
      ['/srv/a', '/srv/link', /its path leads elsewhere/, 'ln -sfn /srv/a /srv/link'],
      ['/srv/a', '/srv/a/.', /its path leads elsewhere/],
      ['/srv/a', '"/srv/a b"', /its path is not a plain one/, 'mkdir -p "/srv/a b"'],
      ['/srv/a', 'srv/a', /its path is not a plain one/, 'cd /'],
      ['/srv/a', '/srv/a', /no host_uuid/, 'rm /srv/a/host_uuid'],
      ['/srv/a', '/srv/a', /no host_uuid/, 'ln -sf /etc/hostname /srv/a/host_uuid'],
    ];
    for (const [folder, data, reason, before] of refused) {
      const said = await purged(folder, `teleport:\n  data_dir: ${data}`, before);
      assert.match(said, reason, data);
      assert.match(said, /left: log .*outbox-2 notes\.txt/, data);
    }
    await host.ok('rm -rf /srv/* /log /etc/teleport.yaml /run/postrm /usr/lib/x');
  });

  test('the tar.gz installs where dpkg is not wanted, and goes again', async () => {
    await host.ok(install('--format=tar'));
    assert.match(
      await host.ok('tsh version && command -v teleport'),
      new RegExp(`tsh v${version} [^]*/usr/local/bin/teleport`),
    );
    const unit = await host.ok('teleport install systemd 2>&1 || :');
    assert.match(unit, /ExecStart=\/usr\/local\/bin\/teleport start/);
    await host.ok(
      `cd /run && curl -fsSk https://${proxy}/packages/${version}/teleport-v${version}-linux-${own}-bin.tar.gz | tar xz teleport/install && ./teleport/install --remove`,
    );
    assert.deepEqual(await host.changed(), []);
  });
});

describe('what is inside of a package', { timeout: 300_000 }, () => {
  test('the npm tarball installs without the network and without compiling, and finds its C programs', async () => {
    const home = join(folder, 'npm');
    const archive = join(packages, version, `sallyport-${version}.tgz`);
    const env = { ...process.env, HOME: home, npm_config_cache: join(home, 'cache') };
    const args = ['install', '-g', '--offline', '--prefix', join(home, 'usr'), archive];
    const installed = await run('npm', args, { env, timeoutMs: 120_000 });
    assert.equal(installed.status, 0, installed.stderr);
    const tsh = await run(join(home, 'usr/bin/tsh'), ['version'], { env });
    assert.match(tsh.stdout, new RegExp(`tsh v${version} `), tsh.stderr);
    const doctor = await run(join(home, 'usr/bin/teleport'), ['doctor', '--format=json'], { env });
    assert.match(doctor.stdout, /"bpf system call"[^}]*"found": "allowed"/, doctor.stdout + doctor.stderr);
  });

  test('the same sources and key give the same bytes, wherever they are put', async () => {
    const before = process.umask(0o077);
    await maker
      .build('--arch', own, '--format=deb,npm', '--out', join(folder, 'again'))
      .finally(() => process.umask(before));
    const sums = (place: string) =>
      readFileSync(join(folder, place, version, 'SHA256SUMS'), 'utf8').split('\n');
    const again = sums('again').filter((line) => line !== '');
    assert.equal(again.length, 3, 'two packages and the key');
    for (const line of again) assert.ok(sums('packages').includes(line), line);
  });

  test('programs ask for no more of a host than the package says', async () => {
    await run('dpkg-deb', ['-x', join(packages, version, deb(version)), join(folder, own)]);
    const allowed = /^(libc|libm|libdl|libpthread|libstdc\+\+|libgcc_s|libpam|ld-linux-[\w-]+)\.so\.\d+$/;
    for (const program of await programs(join(folder, own))) {
      const { stdout } = await run('readelf', ['-dV', '--wide', program]);
      for (const [, library = ''] of stdout.matchAll(/\(NEEDED\).*\[(.*)\]/g)) {
        assert.match(library, allowed, program);
      }
      const minors = [...stdout.matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor));
      assert.ok(Math.max(0, ...minors) <= 34, `${program} asks for glibc 2.${Math.max(...minors)}`);
    }
  });

  const otherWay = own === 'arm64' ? 'on amd64 packages for arm64 are tried' : false;
  test('programs for arm64 start, by emulation, and know the same layouts', { skip: otherWay }, async () => {
    await maker.build('--arch=arm64', '--format=deb', '--out', join(folder, 'arm'));
    const root = join(folder, 'arm64');
    await run('dpkg-deb', ['-x', join(folder, 'arm', version, `sallyport_${version}_arm64.deb`), root]);
    const sysroot = await sysrootOf('arm64');
    const emulate = (program: string, ...args: string[]) =>
      run('qemu-aarch64-static', ['-L', sysroot, program, ...args]);
    const [recorder = '', launcher = '', node = ''] = await programs(root, ['recorder', 'launcher', 'node']);
    const [ownRecorder = ''] = await programs(join(folder, own), ['recorder']);
    const hash = await emulate(recorder, '--wire-hash');
    assert.match(hash.stdout, /^[0-9a-f]{64}\n$/, hash.stderr);
    assert.equal(hash.stdout, (await run(ownRecorder, ['--wire-hash'])).stdout);
    assert.doesNotMatch((await emulate(launcher)).stderr, /error while loading/);
    const main = join(node, '../../../node_modules/@sallyport/teleport/src/cli/tsh/main.js');
    const tsh = await emulate(node, main, 'version');
    assert.match(tsh.stdout, /tsh v.* linux\/arm64\n$/, tsh.stderr);
  });
});

/** ELF programs of an unpacked package; with names, those, in that order. */
async function programs(root: string, names?: readonly string[]): Promise<string[]> {
  const { stdout } = await run('find', [root, '-type', 'f', '-size', '+20k', '-perm', '-u+x']);
  const found = stdout
    .split('\n')
    .filter((path) => path !== '' && readFileSync(path).subarray(1, 4).toString() === 'ELF');
  return names?.map((name) => found.find((path) => path.endsWith(`/${name}`)) ?? name) ?? found;
}
