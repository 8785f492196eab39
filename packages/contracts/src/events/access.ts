// Coming in and what a connection carries besides a shell: log-ins, exec, subsystems, forwarding.
import { z } from 'zod';
import { command, connection, perhapsUser, server, session, status, user } from './blocks.ts';
import { define } from './event-kind.ts';
import { because, shown, where, who } from './phrase.ts';

const login = {
  ...perhapsUser,
  ...status,
  ...connection,
  method: z.string().optional().describe('local, oidc, github, …'),
  connector: z.string().optional().describe('the identity provider that vouched, or did not'),
  attributes: z
    .record(z.string(), z.array(z.string()))
    .optional()
    .describe('what the provider says of the person: a bounded part of it'),
  user_agent: z.string().optional(),
  mfa_device: z
    .looseObject({ mfa_device_name: z.string().optional(), mfa_device_uuid: z.string().optional() })
    .optional(),
};

export const userLogin = define(
  'user.login',
  'T1000I',
  'Somebody logged in.',
  login,
  (e) => `${who(e)} logged in`,
);
export const userLoginFailure = define(
  'user.login',
  'T1000W',
  'A log-in failed.',
  login,
  (e) => `${who(e)} failed to log in${because(e.error)}`,
);

const by = ({ connector }: { readonly connector?: string | undefined }) =>
  connector === undefined ? '' : ` by ${shown(connector)}`;

export const ssoLogin = define(
  'user.login',
  'T1001I',
  'Somebody logged in by an identity provider.',
  login,
  (e) => `${who(e)} logged in${by(e)}`,
);
export const ssoLoginFailure = define(
  'user.login',
  'T1001W',
  'A log-in by an identity provider failed.',
  login,
  (e) => `${who(e)} failed to log in${by(e)}${because(e.error)}`,
);

export const authFailure = define(
  'auth',
  'T3007W',
  'An SSH log-in was refused.',
  { ...perhapsUser, ...server, ...connection, ...status },
  (e) => `the SSH log-in of ${who(e)}${where(e)} was refused${because(e.error)}`,
);

export const apiRefused = define(
  'api.refused',
  'TAP00W',
  'A call of the API was refused: no right to it, or a certificate that is not accepted.',
  {
    ...perhapsUser,
    ...connection,
    ...status,
    call: z.string().describe('method and path of the route'),
    request_id: z.string().optional().describe('as in the answer and the service log'),
  },
  (e) => `${shown(e.call)} by ${who(e)} was refused${because(e.error)}`,
);

const exec = { ...user, ...connection, ...session, sid: session.sid.optional(), ...server, ...command };

export const execSuccess = define(
  'exec',
  'T3002I',
  'A command was run over SSH without a shell session.',
  exec,
  (e) => `${who(e)} executed ${shown(e.command)}${where(e)}`,
);
export const execFailure = define(
  'exec',
  'T3002E',
  'A command run over SSH failed.',
  exec,
  (e) => `${who(e)} executed ${shown(e.command)}${where(e)}, which failed${because(e.exitError)}`,
);

const subsystem = { ...user, ...connection, ...server, name: z.string(), exitError: z.string().optional() };

export const subsystemSuccess = define(
  'subsystem',
  'T3001I',
  'A subsystem was requested.',
  subsystem,
  (e) => `${who(e)} requested subsystem ${shown(e.name)}${where(e)}`,
);
export const subsystemFailure = define(
  'subsystem',
  'T3001E',
  'A subsystem request failed.',
  subsystem,
  (e) => `subsystem ${shown(e.name)} of ${who(e)}${where(e)} failed${because(e.exitError)}`,
);

const port = {
  ...user,
  ...connection,
  ...server,
  ...status,
  addr: z.string().describe('host:port, or the path of a socket'),
  sid: session.sid.optional().describe('the session whose kernel events show what was forwarded'),
};

export const portStart = define(
  'port',
  'T3003I',
  'Port forwarding began.',
  port,
  (e) => `${who(e)} began forwarding to ${shown(e.addr)}${where(e)}`,
);
export const portStop = define(
  'port',
  'T3003S',
  'Port forwarding stopped.',
  port,
  (e) => `${who(e)} stopped forwarding to ${shown(e.addr)}${where(e)}`,
);
export const portFailure = define(
  'port',
  'T3003E',
  'Port forwarding failed.',
  port,
  (e) => `${who(e)} could not forward to ${shown(e.addr)}${where(e)}${because(e.error)}`,
);

export const clientDisconnect = define(
  'client.disconnect',
  'T3006I',
  'A client was disconnected by the service.',
  { ...user, ...connection, ...server, reason: z.string() },
  (e) => `${who(e)} was disconnected${where(e)}${because(e.reason)}`,
);

const forward = { ...user, ...connection, ...server, ...status };

const x11 = {
  ...forward,
  sid: session.sid.optional().describe('the session whose kernel events show what was forwarded'),
};

export const x11Forward = define(
  'x11-forward',
  'T3008I',
  'X11 forwarding was requested.',
  x11,
  (e) => `${who(e)} requested X11 forwarding${where(e)}`,
);
export const x11ForwardFailure = define(
  'x11-forward',
  'T3008W',
  'X11 forwarding was refused.',
  x11,
  (e) => `X11 forwarding of ${who(e)}${where(e)} was refused${because(e.error)}`,
);
export const agentForward = define(
  'agent-forward',
  'T3013I',
  'Agent forwarding was requested.',
  forward,
  (e) => `${who(e)} requested agent forwarding${where(e)}`,
);
export const agentForwardFailure = define(
  'agent-forward',
  'T3013W',
  'Agent forwarding was refused.',
  forward,
  (e) => `agent forwarding of ${who(e)}${where(e)} was refused${because(e.error)}`,
);
