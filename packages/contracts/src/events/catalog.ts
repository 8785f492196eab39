// Every event there is: name and code → schema → sentence. The reference page, the validation of what is
// written and the reading of what is found all come from this one list.
import type { z } from 'zod';
import * as access from './access.ts';
import * as administration from './administration.ts';
import * as enhanced from './enhanced.ts';
import * as hostUsers from './host-users.ts';
import * as session from './session.ts';
import * as transfer from './transfer.ts';

const rows = [
  session.sessionStart,
  session.sessionJoin,
  session.resize,
  session.sessionLeave,
  session.sessionInput,
  session.sessionPresence,
  session.sessionPause,
  session.sessionResume,
  session.sessionEnd,
  session.sessionUpload,
  session.sessionData,
  session.sessionRecordingAccess,
  session.sessionRecordingFailed,
  session.sessionRejected,
  enhanced.sessionCommand,
  enhanced.sessionDisk,
  enhanced.sessionNetwork,
  enhanced.sessionCommandExit,
  enhanced.sessionNetworkClose,
  enhanced.sessionNetworkOutcome,
  enhanced.sessionEventsLost,
  enhanced.sessionAttribution,
  access.userLogin,
  access.userLoginFailure,
  access.ssoLogin,
  access.ssoLoginFailure,
  access.authFailure,
  access.apiRefused,
  access.execSuccess,
  access.execFailure,
  access.subsystemSuccess,
  access.subsystemFailure,
  access.portStart,
  access.portStop,
  access.portFailure,
  transfer.scpDownload,
  transfer.scpDownloadFailure,
  transfer.scpUpload,
  transfer.scpUploadFailure,
  transfer.scpDisallowed,
  transfer.sftpOpen,
  transfer.sftpOpenFailure,
  transfer.sftpClose,
  transfer.sftpCloseFailure,
  transfer.sftpSetstat,
  transfer.sftpSetstatFailure,
  transfer.sftpOpendir,
  transfer.sftpOpendirFailure,
  transfer.sftpReaddir,
  transfer.sftpReaddirFailure,
  transfer.sftpRemove,
  transfer.sftpRemoveFailure,
  transfer.sftpMkdir,
  transfer.sftpMkdirFailure,
  transfer.sftpRmdir,
  transfer.sftpRmdirFailure,
  transfer.sftpRename,
  transfer.sftpRenameFailure,
  transfer.sftpSymlink,
  transfer.sftpSymlinkFailure,
  transfer.sftpLink,
  transfer.sftpLinkFailure,
  transfer.sftpDisallowed,
  access.clientDisconnect,
  access.x11Forward,
  access.x11ForwardFailure,
  access.agentForward,
  access.agentForwardFailure,
  administration.userCreate,
  administration.userUpdate,
  administration.userDelete,
  administration.userPasswordChange,
  administration.mfaAdd,
  administration.mfaDelete,
  administration.mfaProven,
  administration.mfaNotProven,
  administration.roleCreated,
  administration.roleDeleted,
  administration.roleUpdated,
  administration.oidcCreated,
  administration.oidcDeleted,
  administration.oidcUpdated,
  administration.githubCreated,
  administration.githubDeleted,
  administration.githubUpdated,
  administration.joinTokenCreate,
  administration.instanceJoin,
  administration.instanceJoinFailure,
  administration.lockCreated,
  administration.lockDeleted,
  administration.certCreate,
  hostUsers.hostUserCreated,
  hostUsers.hostUserCreateFailure,
  hostUsers.hostUserUpdated,
  hostUsers.hostUserDeleted,
  hostUsers.hostUserDeleteFailure,
  hostUsers.staticHostUserCreated,
  hostUsers.staticHostUserUpdated,
  hostUsers.staticHostUserDeleted,
] as const;

/** Any event, told apart by `code`. */
export type AuditEvent = z.output<(typeof rows)[number]['schema']>;

export type EventCode = AuditEvent['code'];
export type EventName = AuditEvent['event'];

/** The event with this code. */
export type EventOf<Code extends EventCode> = Extract<AuditEvent, { code: Code }>;

/** A catalog row with its types widened to the union. */
export interface CatalogEntry {
  readonly event: EventName;
  readonly code: EventCode;
  readonly title: string;
  readonly schema: z.ZodType<AuditEvent>;
  readonly sentence: (event: AuditEvent) => string;
}

/** In the order of the reference page. */
export const catalog: readonly CatalogEntry[] = rows as unknown as readonly CatalogEntry[];

const byCode = new Map<string, CatalogEntry>(catalog.map((entry) => [entry.code, entry]));

export function entryOf(code: string): CatalogEntry | undefined {
  return byCode.get(code);
}

/** What happened, for a person: "alice ran /usr/bin/curl google.com on web-1". */
export function sentence(event: AuditEvent): string {
  return entryOf(event.code)?.sentence(event) ?? event.event;
}
