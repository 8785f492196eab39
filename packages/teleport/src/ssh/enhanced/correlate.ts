// Kernel event + session → audit event. Pure. One record makes one audit event, so that the kernel's sequence
// number is the event's identity; the spool's own `watch` and `end` frames make none.
import { type EventDraft, wireInteger } from '@sallyport/contracts/events/event.ts';
import type {
  AttributionEvent,
  ExecEvent,
  ExecFailedEvent,
  ExitEvent,
  KernelEvent,
  LostEvent,
  OpenEvent,
} from '@sallyport/kernel/kernel-event.ts';
import { errnoName } from './errno-name.ts';
import { kernelText, kernelTexts } from './kernel-text.ts';
import { correlateConnect } from './network.ts';
import { type CorrelationContext, taskBlock, wallTime } from './task-block.ts';

const nsPerMs = 1e6;

/** undefined: the record is the spool's own bookkeeping. */
export function correlate(event: KernelEvent, context: CorrelationContext): EventDraft | undefined {
  switch (event.type) {
    case 'exec':
      return command(event, context);
    case 'exec_failed':
      return failedCommand(event, context);
    case 'exit':
      return commandExit(event, context);
    case 'open':
      return disk(event, context);
    case 'connect':
    case 'connect_outcome':
    case 'socket_close':
      return correlateConnect(event, context);
    case 'attribution':
      return attribution(event, context);
    case 'lost':
      return eventsLost(event, context);
    case 'watch':
    case 'end':
      return undefined;
  }
}

function command(event: ExecEvent, context: CorrelationContext): EventDraft {
  const flags = execFlags(event);
  return {
    event: 'session.command',
    code: 'T4000I',
    ...taskBlock(event, context),
    ...kernelText('path', event.path),
    // argv[0] is the process's own claim about its name; `path` is the program. As documented.
    ...kernelTexts('argv', event.argv.slice(1)),
    return_code: 0,
    ...kernelText('exe', event.exe),
    ...kernelText('cwd', event.cwd),
    ...(event.interpreter === undefined ? {} : kernelText('interpreter', event.interpreter)),
    argv_state: argvState(event),
    ...(flags.length > 0 ? { flags } : {}),
    ...(event.env.length > 0 ? kernelTexts('environment', event.env) : {}),
    inode: wireInteger(event.inode),
    device: event.device,
    mode: event.mode,
  };
}

type ExecFlag =
  | 'memfd'
  | 'deleted'
  | 'setuid'
  | 'ld_exec'
  | 'shm'
  | 'compat32'
  | 'path_partial'
  | 'cwd_partial';

function execFlags(event: ExecEvent): ExecFlag[] {
  const flags: ExecFlag[] = [];
  if (event.memfd) flags.push('memfd');
  if (event.deleted) flags.push('deleted');
  if (event.setuid) flags.push('setuid');
  if (event.ldExec) flags.push('ld_exec');
  if (event.shm) flags.push('shm');
  if (event.compat32) flags.push('compat32');
  if (event.pathPartial) flags.push('path_partial');
  if (event.cwdPartial) flags.push('cwd_partial');
  return flags;
}

/** The counts include argv[0], as the kernel's argc does. */
function argvState(event: ExecEvent): string {
  if (event.argvState === 'truncated') return `truncated(${event.argv.length} of ${event.argc})`;
  if (event.argvState === 'unreadable') return `unreadable(${errnoName(event.argvError)})`;
  return 'exact';
}

function failedCommand(event: ExecFailedEvent, context: CorrelationContext): EventDraft {
  return {
    event: 'session.command',
    code: 'T4000I',
    ...taskBlock(event, context),
    ...kernelText('path', event.path),
    ...kernelTexts('argv', event.argv.slice(1)),
    return_code: -event.error,
    ...(event.cwd.length > 0 ? kernelText('cwd', event.cwd) : {}),
    ...(event.compat32 ? { flags: ['compat32' as const] } : {}),
    ...(event.folded > 1 ? { folded: event.folded } : {}),
  };
}

function commandExit(event: ExitEvent, context: CorrelationContext): EventDraft {
  return {
    event: 'session.command.exit',
    code: 'T4010I',
    ...taskBlock(event, context),
    ...(event.status === undefined ? {} : { exit_status: event.status }),
    ...(event.signal === undefined ? {} : { signal: event.signal }),
    ...(event.coreDumped ? { core_dumped: true } : {}),
    duration_ms: Number(event.durationNs) / nsPerMs,
    cpu_ms: Number(event.cpuNs) / nsPerMs,
  };
}

function disk(event: OpenEvent, context: CorrelationContext): EventDraft {
  // A failed open has no file to name: what was asked for is the path then, and `path_source` says so.
  const opened = event.path.length > 0;
  return {
    event: 'session.disk',
    code: 'T4001I',
    ...taskBlock(event, context),
    ...kernelText('path', opened ? event.path : (event.userPath ?? Buffer.alloc(0))),
    flags: event.openFlags,
    return_code: event.result,
    path_source: opened ? event.pathSource : 'user',
    ...(event.pathPartial ? { path_partial: true } : {}),
    ...(event.userPath === undefined ? {} : kernelText('user_path', event.userPath)),
    ...(event.cwd === undefined ? {} : kernelText('cwd', event.cwd)),
    ...(event.dup ? { duplicate: true } : {}),
    syscall: event.syscall,
    inode: wireInteger(event.inode),
    device: event.device,
    nlink: event.nlink,
    mode: event.mode,
  };
}

function attribution(event: AttributionEvent, context: CorrelationContext): EventDraft {
  return {
    event: 'session.attribution',
    code: 'T4021W',
    ...taskBlock(event, context),
    reason: event.reason,
    old_value: wireInteger(event.oldValue),
    new_value: wireInteger(event.newValue),
  };
}

function eventsLost(event: LostEvent, { blocks, clock }: CorrelationContext): EventDraft {
  return {
    event: 'session.events_lost',
    code: 'T4020W',
    ...blocks,
    time: wallTime(clock, event.ktime),
    kind: event.kind,
    count: event.count,
    first_time: wallTime(clock, event.firstKtime),
    last_time: wallTime(clock, event.lastKtime),
    cause: event.cause,
    source: event.source,
  };
}
