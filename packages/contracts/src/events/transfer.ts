// Files copied over SSH: scp and sftp.
import { z } from 'zod';
import { command, connection, optionalText, server, session, text, user } from './blocks.ts';
import { define } from './event-kind.ts';
import { because, shown, where, who } from './phrase.ts';

const scp = {
  ...user,
  ...connection,
  ...session,
  ...server,
  ...command,
  command: z.string().optional(),
  ...text('path', 'what was asked for, where the protocol does not tell the file'),
  name: z.string().optional().describe('of the file, when it may lie in `path` or be it'),
  size: z.int().nonnegative().optional().describe('bytes, as announced'),
  action: z.enum(['upload', 'download']),
};

interface ScpFields {
  readonly user: string;
  readonly server_hostname?: string | undefined;
  readonly path: string;
  readonly exitError?: string | undefined;
}

const scpSentence = (verb: string) => (e: ScpFields) =>
  `${who(e)} ${verb} ${shown(e.path)}${where(e)} by scp${because(e.exitError)}`;

export const scpDownload = define(
  'scp',
  'T3004I',
  'A file was downloaded by scp.',
  scp,
  scpSentence('downloaded'),
);
export const scpDownloadFailure = define(
  'scp',
  'T3004E',
  'A download by scp failed.',
  scp,
  scpSentence('could not download'),
);
export const scpUpload = define('scp', 'T3005I', 'A file was uploaded by scp.', scp, scpSentence('uploaded'));
export const scpUploadFailure = define(
  'scp',
  'T3005E',
  'An upload by scp failed.',
  scp,
  scpSentence('could not upload'),
);
export const scpDisallowed = define(
  'scp',
  'T3010E',
  'Copying by scp is not allowed.',
  { ...scp, path: z.string().optional(), action: scp.action.optional() },
  (e) => `${who(e)} was not allowed to copy files${where(e)} by scp`,
);

const sftpBase = { ...user, ...connection, ...session, ...server };
const sftp = {
  ...sftpBase,
  ...text('path'),
  ...optionalText('target_path', 'of rename: the new name; of symlink and link: what it points at'),
  working_directory: z.string().optional(),
  flags: z.int().nonnegative().optional().describe('SSH_FXF_* of open'),
  attributes: z
    .strictObject({
      file_size: z.int().nonnegative().optional(),
      uid: z.int().nonnegative().optional(),
      gid: z.int().nonnegative().optional(),
      permissions: z.int().nonnegative().optional(),
      access_time: z.iso.datetime().optional(),
      modification_time: z.iso.datetime().optional(),
    })
    .optional(),
  error: z.string().optional(),
};

/** Both rows of one operation: `I` it was done, `E` it failed. */
function operation<Number extends string, Action extends string>(
  number: Number,
  action: Action,
  done: string,
  toDo: string,
  more = {},
) {
  const shape = { ...sftp, ...more, action: z.literal(action) };
  return [
    define(
      'sftp',
      `TS${number}I`,
      `sftp ${action} was done.`,
      shape,
      (e) => `${who(e)} ${done} ${files(e)}${where(e)} by sftp`,
    ),
    define(
      'sftp',
      `TS${number}E`,
      `sftp ${action} failed.`,
      shape,
      (e) => `${who(e)} could not ${toDo} ${files(e)}${where(e)} by sftp${because(e.error)}`,
    ),
  ] as const;
}

const files = (e: { path: string; target_path?: string | undefined }) =>
  e.target_path === undefined ? shown(e.path) : `${shown(e.path)} to ${shown(e.target_path)}`;

export const [sftpOpen, sftpOpenFailure] = operation('001', 'open', 'opened', 'open');
export const [sftpClose, sftpCloseFailure] = operation('002', 'close', 'closed', 'close', {
  bytes_read: z.int().nonnegative().optional(),
  bytes_written: z.int().nonnegative().optional(),
});
export const [sftpSetstat, sftpSetstatFailure] = operation(
  '007',
  'setstat',
  'changed the attributes of',
  'change the attributes of',
);
export const [sftpOpendir, sftpOpendirFailure] = operation('009', 'opendir', 'opened folder', 'open folder');
export const [sftpReaddir, sftpReaddirFailure] = operation('010', 'readdir', 'listed', 'list');
export const [sftpRemove, sftpRemoveFailure] = operation('011', 'remove', 'removed', 'remove');
export const [sftpMkdir, sftpMkdirFailure] = operation('012', 'mkdir', 'made folder', 'make folder');
export const [sftpRmdir, sftpRmdirFailure] = operation('013', 'rmdir', 'removed folder', 'remove folder');
export const [sftpRename, sftpRenameFailure] = operation('016', 'rename', 'renamed', 'rename');
export const [sftpSymlink, sftpSymlinkFailure] = operation('018', 'symlink', 'made symlink', 'make symlink');
export const [sftpLink, sftpLinkFailure] = operation('019', 'link', 'made link', 'make link');

export const sftpDisallowed = define(
  'sftp',
  'TS020E',
  'Copying by sftp is not allowed.',
  { ...sftpBase, path: z.string().optional(), error: z.string().optional() },
  (e) => `${who(e)} was not allowed to copy files${where(e)} by sftp`,
);
