// `tsh join`: into a session that lives somewhere in the cluster. The node is found by what it reported of the session;
// whether one gets in is the node's own decision.
import {
  type JoinMode,
  joinLogin,
  joinModes,
  joinVariables,
} from '@sallyport/contracts/api/session-trackers.ts';
import { AppError, describeError } from '@sallyport/contracts/errors.ts';
import { notice, styled } from '../output.ts';
import { authClient } from './auth-client.ts';
import { connectNode, type NodeLink } from './connect-node.ts';
import { type Profile, requireProfile } from './profile.ts';
import { runJoined } from './session-io.ts';
import { findSession } from './sessions.ts';
import { exitCodeOf } from './ssh-command.ts';

export interface JoinFlags {
  readonly proxy?: string;
  readonly mode: string;
}

/** As `tsh ssh` has it: there was no session to have a status of. */
const noSession = 255;

export async function joinAction(sid: string, flags: JoinFlags): Promise<void> {
  const mode = modeOf(flags.mode);
  try {
    const profile = await requireProfile(flags.proxy);
    const { node, name } = await locate(profile, sid, mode);
    const link = await connectNode(profile, { host: node, port: 3022 }, joinLogin).catch(
      (thrown: unknown) => {
        throw explain(AppError.from(thrown));
      },
    );
    try {
      process.exitCode = await enter(link, name, mode);
    } finally {
      link.close();
    }
  } catch (error) {
    notice(`${styled('red', 'ERROR:', process.stderr)} ${describeError(AppError.from(error))}`);
    if (process.env['DEBUG'] !== undefined) console.error(error);
    process.exitCode = noSession;
  }
}

function modeOf(text: string): JoinMode {
  const mode = joinModes.find((each) => each === text);
  if (mode !== undefined) return mode;
  const known = joinModes.join(', ');
  throw new AppError('bad_input', 'tsh.bad_mode', `--mode: "${text}" is none of ${known}.`);
}

async function locate(profile: Profile, sid: string, mode: JoinMode) {
  const auth = await authClient(profile);
  try {
    const { metadata, spec } = await findSession(auth, sid);
    if (!spec.join_modes.includes(mode)) {
      const others = spec.join_modes.join(' or ');
      const hint =
        others === '' ? 'A role with allow.join_sessions gives the right.' : `You may as ${others}.`;
      const message = `You may not join the session of ${spec.owner} as ${mode}.`;
      throw new AppError('denied', 'tsh.may_not_join', message, { hint });
    }
    return { node: spec.server_id, name: metadata.name };
  } finally {
    auth.close();
  }
}

function explain(error: AppError): AppError {
  if (error.code !== 'ssh.login_refused') return error;
  return new AppError('denied', error.code, 'The node lets you join no session.', {
    cause: error,
    hint: 'A lock or a role stands against it, or your certificate is older than the right: try `tsh login`.',
  });
}

async function enter({ client }: NodeLink, sid: string, mode: JoinMode): Promise<number> {
  const session = await client.openSession();
  const told = await Promise.all([
    session.env(joinVariables.sid, sid),
    session.env(joinVariables.mode, mode),
  ]);
  if (told.includes(false))
    throw new AppError('unsupported', 'tsh.no_joining', 'This node is too old to join sessions on it.');
  const status = await runJoined(session);
  if (status === 'left') return 0;
  if (status === undefined) notice(`The connection to the node ended: ${await client.closed}`);
  return exitCodeOf(status);
}
