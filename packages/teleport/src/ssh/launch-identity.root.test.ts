// The judge of a log-in is sshd on the same host: everything a process can see of itself must be equal.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  cannotLaunch,
  createLogin,
  finish,
  finishOnTerminal,
  request,
  type TestLogin,
  terminal,
} from './host.fixture.ts';
import { launch } from './launch.ts';
import { noSshd, RealSshd } from './sshd.fixture.ts';

const skip = cannotLaunch() || noSshd;

// /proc/$$ is the shell itself, not a child of it; descriptors and signals are seen by a child, since a shell's
// own come and go: bash blocks and catches some while it waits, and hands on what it was given itself.
const probe = `echo BEGIN-$((1+1))
echo "argv: $0"; echo "id: $(id)"; echo "umask: $(umask)"; echo "pwd: $PWD"
echo "tty: $(tty)"; test -t 0 && stat -c 'owner: %U %G %a' "$(tty)"
grep -E '^(Uid|Gid|Groups|Cap[A-Za-z]*|NoNewPrivs|Seccomp):' /proc/$$/status
grep -E '^(Sig(Blk|Ign|Cgt)|ShdPnd|SigPnd):' /proc/self/status
cut -d' ' -f6,7 /proc/$$/stat | sed "s/^$$ /leader /;s/^/session: /;s/[1-9][0-9]*$/tty/"
sed 's/^/limit: /' /proc/$$/limits
ls -l --color=never /proc/self/fd
echo "loginuid: $(cat /proc/$$/loginuid)"; echo "oom: $(cat /proc/$$/oom_score_adj)"; echo "nice: $(nice)"
grep -q -x 4294967295 /proc/$$/sessionid && echo 'audit: no session'
env | sed 's/^/env: /'
test -t 0 && stty -a
echo END-$((1+1))`;

/** Between BEGIN-2 and END-2 (a typed probe is echoed with the sums unmade), and what must differ made equal. */
function observed(text: string): string[] {
  const lines = text.replaceAll('\r', '').split('\n');
  const from = lines.findIndex((line) => line.endsWith('BEGIN-2'));
  const to = lines.findIndex((line) => line.endsWith('END-2'));
  assert.ok(from >= 0 && to > from, `no probe in: ${text}`);
  return lines
    .slice(from + 1, to)
    .filter((line) => !/^total|\/proc\/\d+\/fd$/.test(line))
    .map(normalised)
    .sort();
}

function normalised(line: string): string {
  return line
    .replace(/(SSH_CLIENT=\S+) \d+ \d+/, '$1 port port')
    .replace(/(SSH_CONNECTION=\S+) \d+ (\S+) \d+/, '$1 port $2 port')
    .replace(/\/dev\/pts\/\d+/, '/dev/pts/N')
    .replace(/^[lrwx-]{10} .* (\d+) -> (\S+?)(:\[\d+\])?$/, 'fd $1: $2');
}

describe('the session child is what sshd would have made', { skip }, () => {
  let sshd: RealSshd;
  let user: TestLogin;
  const env = {
    LANG: 'C.UTF-8',
    SSH_CLIENT: '127.0.0.1 50000 22',
    SSH_CONNECTION: '127.0.0.1 50000 127.0.0.1 22',
  };
  before(async () => {
    user = createLogin('i');
    sshd = await RealSshd.start();
  });
  after(() => {
    sshd.stop();
    user.remove();
  });

  for (const who of ['user', 'root']) {
    const login = () => (who === 'user' ? user.name : 'root');

    test(`a command without a terminal, ${who}`, async () => {
      const theirs = sshd.run(login(), [probe], { tty: false });
      const session = await launch(request(login(), { command: probe, env, pamService: 'sshd' }));
      const ours = await finish(session);
      assert.deepEqual(ours.exit, { code: 0 });
      assert.deepEqual(observed(ours.out), observed(theirs));
    });

    test(`a command on a terminal, ${who}`, async () => {
      const theirs = sshd.run(login(), [probe], { tty: true });
      const pty = terminal({ cols: 0, rows: 0, modes: sshModes });
      const session = await launch(request(login(), { command: probe, env, pamService: 'sshd', pty }));
      assert.deepEqual(observed((await finishOnTerminal(session)).out), observed(theirs));
    });

    test(`a log-in shell, ${who}`, async () => {
      const typed = `${probe.replaceAll('\n', '; ')}\nexit\n`;
      const theirs = sshd.run(login(), [], { tty: true, input: typed });
      const pty = terminal({ cols: 0, rows: 0, modes: sshModes });
      const session = await launch(request(login(), { env, pamService: 'sshd', pty }));
      assert.deepEqual(observed((await finishOnTerminal(session, typed)).out), observed(theirs));
    });
  }

  test('groups are the account’s own and never the daemon’s', async () => {
    const before = process.getgroups?.() ?? [];
    process.setgroups?.([4, 6, 24]); // adm, disk, cdrom
    try {
      for (const pamService of ['sshd', undefined]) {
        const session = await launch(request(user.name, { command: 'id -nG', pamService }));
        assert.equal((await finish(session)).out.trim(), `${user.name} ${user.group}`);
        const root = await launch(request('root', { command: 'id -nG', pamService }));
        assert.equal((await finish(root)).out.trim(), 'root');
      }
    } finally {
      process.setgroups?.(before);
    }
  });
});

/** What `ssh -tt` sends when its own input is no terminal: the end, and nothing else. */
const sshModes = Buffer.from([0]);
