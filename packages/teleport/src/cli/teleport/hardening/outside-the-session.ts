// Daemons that do a user's work outside of the user's session, and log-ins that this node never sees.
import { anyExists, type HostFiles } from './host-files.ts';
import type { Look } from './way.ts';

/** crontab(1) and at(1) alike: an allow file names who may; without one, everybody whom a deny file does not name. */
async function byAllowFile(files: HostFiles, programs: readonly string[], allow: string) {
  if (!(await anyExists(files, programs))) return { found: 'not installed', closed: true };
  const text = await files.text(allow);
  if (text === undefined) return { found: `${allow} is missing: any user may`, closed: false };
  const names = text.split('\n').filter((line) => line.trim() !== '');
  return names.length === 0
    ? { found: 'root only', closed: true }
    : { found: `root and ${names.join(', ')}`, closed: false };
}

const cron: Look = {
  name: 'cron',
  why: 'cron starts jobs as a daemon of its own: they are in nobody’s session',
  fix: 'make /etc/cron.allow, empty (root needs no line in it)',
  look: (files) => byAllowFile(files, ['/usr/bin/crontab'], '/etc/cron.allow'),
};

const at: Look = {
  name: 'at and batch',
  why: 'atd starts jobs as a daemon of its own: they are in nobody’s session',
  fix: 'make /etc/at.allow, empty, or remove the package at',
  look: (files) => byAllowFile(files, ['/usr/bin/at'], '/etc/at.allow'),
};

const userManagers: Look = {
  name: 'systemd user managers',
  why: '`systemd-run --user` has a manager start programs, which is no child of the session',
  fix: 'systemctl mask user@.service',
  async look(files) {
    if ((await files.mode('/run/systemd/system')) === undefined)
      return { found: 'no systemd here', closed: true };
    const masked = (await files.link('/etc/systemd/system/user@.service')) === '/dev/null';
    return { found: masked ? 'masked' : 'a manager for each user', closed: masked };
  },
};

const linger: Look = {
  name: 'lingering users',
  why: 'their managers run units from boot on, with or without a session',
  fix: 'loginctl disable-linger USER, for each',
  async look(files) {
    const names = await files.list('/var/lib/systemd/linger');
    return { found: names.length === 0 ? 'nobody' : names.join(', '), closed: names.length === 0 };
  },
};

const engineSockets = ['/run/docker.sock', '/run/containerd/containerd.sock', '/run/podman/podman.sock'];

const containerEngines: Look = {
  name: 'container engines',
  why: 'whoever may write the socket is root on this host, and what the engine starts is in no session',
  fix: 'leave the socket to root: chgrp root SOCKET and chmod 0600 SOCKET, in the unit that makes it',
  async look(files) {
    const open: string[] = [];
    let some = false;
    for (const path of engineSockets) {
      const found = await files.mode(path);
      some ||= found !== undefined;
      if (found && ((found.mode & 0o002) !== 0 || ((found.mode & 0o020) !== 0 && found.gid !== 0)))
        open.push(path);
    }
    if (open.length > 0) return { found: `others than root may write ${open.join(', ')}`, closed: false };
    return { found: some ? 'sockets are root’s' : 'no socket', closed: true };
  },
};

/** As the kernel knows them: /proc/PID/comm. */
const logInDaemons = new Set(['sshd', 'dropbear', 'telnetd', 'in.telnetd', 'mosh-server', 'cockpit-ws']);

const otherLogIns: Look = {
  name: 'other ways to log in',
  why: 'a log-in by them is recorded by nobody; with one of each, a user can do in one what the other starts',
  fix: 'stop and disable them, or let only root in by them, for emergencies',
  async look(files) {
    const found = new Set<string>();
    for (const pid of await files.list('/proc')) {
      if (!/^\d+$/.test(pid)) continue;
      const comm = (await files.text(`/proc/${pid}/comm`))?.trim() ?? '';
      if (logInDaemons.has(comm)) found.add(comm);
    }
    return {
      found: found.size === 0 ? 'none runs' : `${[...found].join(', ')} runs`,
      closed: found.size === 0,
    };
  },
};

export const outsideTheSession: readonly Look[] = [
  cron,
  at,
  userManagers,
  linger,
  containerEngines,
  otherLogIns,
];
