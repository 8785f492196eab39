/** Writes an initramfs: a cpio archive in the "newc" format (kernel: Documentation/driver-api/early-userspace/buffer-format.rst). */

export interface InitramfsEntry {
  /** Without a leading slash. */
  readonly path: string;
  readonly content: Buffer | string;
  /** Permission bits; 0644 when not given. */
  readonly mode?: number;
}

const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;

/** The archive of these files and of the folders they stand in; everything belongs to root. */
export function initramfs(entries: readonly InitramfsEntry[], emptyFolders: readonly string[] = []): Buffer {
  const folders = new Set<string>();
  for (const path of [...entries.map((entry) => entry.path), ...emptyFolders.map((path) => `${path}/`)]) {
    for (let at = path.indexOf('/'); at > 0; at = path.indexOf('/', at + 1)) folders.add(path.slice(0, at));
  }
  let inode = 1;
  const parts: Buffer[] = [];
  // The kernel unpacks in order and makes no missing parents.
  for (const path of [...folders].sort()) parts.push(member(inode++, path, S_IFDIR | 0o755, Buffer.alloc(0)));
  for (const { path, content, mode = 0o644 } of entries) {
    parts.push(member(inode++, path, S_IFREG | mode, Buffer.from(content)));
  }
  parts.push(member(0, 'TRAILER!!!', 0, Buffer.alloc(0)));
  return Buffer.concat(parts);
}

function member(inode: number, path: string, mode: number, content: Buffer): Buffer {
  const name = Buffer.from(`${path}\0`);
  // inode, mode, uid, gid, links, mtime, size, dev (2), rdev (2), length of the name, checksum (unused)
  const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length, 0];
  const header = Buffer.from(`070701${fields.map((n) => n.toString(16).padStart(8, '0')).join('')}`);
  return Buffer.concat([padded(Buffer.concat([header, name])), padded(content)]);
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}
