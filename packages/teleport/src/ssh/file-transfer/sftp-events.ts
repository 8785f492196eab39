// The events of file transfer. Pure: facts in, drafts out.
import { textField } from '@sallyport/contracts/events/bytes.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import type { FileAttributes } from '../../ssh-transport/sftp/attributes.ts';
import { type SessionFacts, sessionAndConnectionBlocks } from '../session-facts.ts';

const codes = {
  open: 'TS001',
  close: 'TS002',
  setstat: 'TS007',
  opendir: 'TS009',
  readdir: 'TS010',
  remove: 'TS011',
  mkdir: 'TS012',
  rmdir: 'TS013',
  rename: 'TS016',
  symlink: 'TS018',
  link: 'TS019',
} as const;

export type SftpAction = keyof typeof codes;

/** Longer than any path of the system; a client may send more. */
const MAX_PATH_BYTES = 4096;

export function sftpEvent(
  facts: SessionFacts,
  action: SftpAction,
  subject: object,
  error: string | undefined,
): EventDraft {
  const code = `${codes[action]}${error === undefined ? 'I' : 'E'}`;
  const fields = { ...sessionAndConnectionBlocks(facts), ...subject, action };
  const draft = { event: 'sftp', code, ...fields, ...(error === undefined ? {} : { error }) };
  // Code and action are paired by the table above, which the compiler cannot follow; the catalog checks each event.
  return draft as unknown as EventDraft;
}

export function subjectOf(path: Buffer, target?: Buffer, attributes: FileAttributes = {}) {
  const listed = attributeFields(attributes);
  return {
    ...textField('path', path.subarray(0, MAX_PATH_BYTES)),
    ...(target === undefined ? {} : textField('target_path', target.subarray(0, MAX_PATH_BYTES))),
    ...(Object.keys(listed).length === 0 ? {} : { attributes: listed }),
  };
}

function attributeFields({ size, uid, gid, mode, atime, mtime }: FileAttributes) {
  return {
    ...(size === undefined ? {} : { file_size: size }),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    ...(mode === undefined ? {} : { permissions: mode }),
    ...(atime === undefined ? {} : { access_time: instant(atime) }),
    ...(mtime === undefined ? {} : { modification_time: instant(mtime) }),
  };
}

/** Seconds since 1970; the protocol's 32 bits always are a date. */
function instant(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}
