// Who can become root: root in a session can end its recording, or the host's.
import type { HostFiles } from './host-files.ts';
import type { Look } from './way.ts';

/** Groups whose members are root by one command more (an engine's socket, a raw disk, the password hashes). */
const rootLikeGroups = [
  'sudo',
  'wheel',
  'admin',
  'docker',
  'lxd',
  'incus-admin',
  'libvirt',
  'disk',
  'shadow',
  'kmem',
];

async function membersOf(files: HostFiles): Promise<ReadonlyMap<string, readonly string[]>> {
  const lines = ((await files.text('/etc/group')) ?? '').split('\n');
  return new Map(
    lines.flatMap((line) => {
      const [name = '', , , members = ''] = line.split(':');
      return members === '' ? [] : [[name, members.split(',')] as const];
    }),
  );
}

const groups: Look = {
  name: 'groups that make root',
  why: 'their members can become root, and root can stop the recorder',
  fix: 'gpasswd --delete USER GROUP for whoever does not have to be in it',
  async look(files) {
    const members = await membersOf(files);
    const found = rootLikeGroups.flatMap((group) => {
      const names = members.get(group);
      return names === undefined ? [] : [`${group}: ${names.join(' ')}`];
    });
    return { found: found.length === 0 ? 'nobody is in one' : found.join('; '), closed: found.length === 0 };
  },
};

/** Lines that give everything: `who host=(as) [tags] ALL`. */
function rootGrants(text: string): string[] {
  return text
    .replaceAll('\\\n', ' ')
    .split('\n')
    .flatMap((line) => {
      const found = /^\s*([^\s#@][^\s=]*)\s[^=]*=\s*(\([^)]*\)\s*)?(([A-Z_]+:)\s*)*ALL\s*$/.exec(line);
      const who = found?.[1];
      return who === undefined || who === 'root' || /^(Defaults|[A-Z_]+_Alias$)/.test(who) ? [] : [who];
    });
}

const sudoers: Look = {
  name: 'sudo to everything',
  why: 'root can stop the recorder, load kernel code, or write where the record is kept',
  fix: 'give single commands instead of ALL (visudo), none of which starts a shell or an editor',
  async look(files) {
    const main = await files.text('/etc/sudoers');
    if (main === undefined) return { found: 'no sudo here, or not root', closed: true };
    const parts = (await files.list('/etc/sudoers.d')).filter((name) => !/[.~]/.test(name));
    const texts = [main];
    for (const name of parts) texts.push((await files.text(`/etc/sudoers.d/${name}`)) ?? '');
    const members = await membersOf(files);
    // A group without members gives nothing to anybody; Debian's file has such a line.
    const who = [...new Set(texts.flatMap(rootGrants))].filter(
      (name) => !name.startsWith('%') || members.has(name.slice(1)),
    );
    return { found: who.length === 0 ? 'nobody' : who.join(', '), closed: who.length === 0 };
  },
};

export const becomingRoot: readonly Look[] = [groups, sudoers];
