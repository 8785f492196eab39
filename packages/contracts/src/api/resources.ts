// The resources of a cluster as documents: what `tctl get` prints, `tctl create -f` takes and the API carries.
// Head (`kind`, `version`, `metadata`, `spec`) as documented; a document that was read can be written back.
import { z } from 'zod';
import { githubDocument, oidcDocument } from './connectors.ts';
import { labels, metadata, resourceName } from './resource-parts.ts';
import { hostRoles, ruledResources, verbs } from './route.ts';
import { joinModes } from './session-trackers.ts';

export { labels, metadata, resourceName };

/** A host account. A leading dash would be an option to some program one day. */
export const loginName = z
  .string()
  .regex(/^[A-Za-z0-9_][A-Za-z0-9_.@\\$-]{0,254}$/, 'must be the name of a host account');
const template = z.string().regex(/^\{\{\s*(internal|external)\.[A-Za-z0-9_-]+\s*\}\}$/);
const loginOrTemplate = z.union([loginName, template], {
  error: 'must be the name of a host account or {{internal.TRAIT}}',
});

// `cores: 8` is text to a label. Not z.coerce: it would make "a,b" of a list.
const labelText = z.union([z.string(), z.number(), z.boolean()]).transform(String);
const labelSelector = z.record(z.string(), z.union([labelText, z.array(labelText)]));
/** A command of the node may have printed one: at most 4 KiB. */
const nodeLabels = z.record(z.string().max(256), z.string().max(4096));
const instant = z.iso.datetime();
const duration = z.string().regex(/^(\d+(\.\d+)?(ms|s|m|h|d))+$/, 'must be a duration such as 8h or 1h30m');
export const recordedKind = z.enum(['command', 'disk', 'network']);
const recordSession = z.enum(['best_effort', 'strict']);

const head = { version: z.string().optional(), metadata };

export const rule = z.strictObject({
  resources: z.array(z.enum([...ruledResources, '*'])).min(1),
  verbs: z.array(z.enum([...verbs, '*'])).min(1),
});

const sharedKinds = z.array(z.enum(['ssh', '*'])).min(1);
const sharedModes = z.array(z.enum([...joinModes, '*'])).min(1);
const policyName = z.string().min(1).max(128);

/** Whose sessions somebody with the role may join (or, in deny, may not), and as what. */
export const joinPolicy = z.strictObject({
  name: policyName,
  /** Roles of the session's owner, any of which; `*` stands for any text. */
  roles: z.array(z.string().min(1).max(128)).min(1).max(64),
  kinds: sharedKinds,
  modes: sharedModes,
});

/** Who must be in a session of somebody with the role. Of a role's policies one must be met, of every role. */
export const requirePolicy = z.strictObject({
  name: policyName,
  /** An expression about whoever joins, e.g. `contains(user.spec.roles, "auditor")`. */
  filter: z.string().min(1).max(1024),
  kinds: sharedKinds,
  modes: sharedModes,
  count: z.int().min(1).max(16),
  /** What becomes of the session when they leave. Default terminate. */
  on_leave: z.enum(['terminate', 'pause']).optional(),
  /** A connection of theirs that says nothing for so long is a leaving. Default 10s; meanwhile the session stands still. */
  silence_limit: duration.optional(),
});

// As groupadd(8) takes them.
const hostGroup = z.string().regex(/^[a-z_][a-z0-9_-]{0,31}$/, 'must be the name of a group of the host');
const hostGroups = z.array(z.union([hostGroup, template])).max(64);
// It becomes a line of a file: nothing may end it, or join the next one to it.
const sudoersLine = z
  .string()
  .max(1024)
  .regex(/^[^\p{C}]*[^\p{C}\\]$/u, 'must be one line of sudoers(5), without the name in front');

/** A path; execve(2) is the judge of the rest. */
const shellPath = z.string().regex(/^\/[^\s\p{C}:]{1,255}$/u, 'must be the absolute path of a shell');

export const roleDocument = z.strictObject({
  kind: z.literal('role'),
  ...head,
  spec: z
    .strictObject({
      allow: z
        .strictObject({
          logins: z.array(loginOrTemplate).optional(),
          node_labels: labelSelector.optional(),
          host_groups: hostGroups.optional(),
          host_sudoers: z.array(sudoersLine).max(64).optional(),
          rules: z.array(rule).optional(),
          join_sessions: z.array(joinPolicy).max(64).optional(),
          require_session_join: z.array(requirePolicy).max(64).optional(),
        })
        .optional(),
      deny: z
        .strictObject({
          logins: z.array(z.union([loginOrTemplate, z.literal('*')])).optional(),
          node_labels: labelSelector.optional(),
          host_groups: hostGroups.optional(),
          host_sudoers: z.array(sudoersLine).max(64).optional(),
          rules: z.array(rule).optional(),
          join_sessions: z.array(joinPolicy).max(64).optional(),
        })
        .optional(),
      options: z
        .strictObject({
          max_session_ttl: duration.optional(),
          enhanced_recording: z.array(recordedKind).optional(),
          // Both documented spellings: a word, or a word for each protocol.
          record_session: z
            .union([
              recordSession,
              z.strictObject({ default: recordSession.optional(), ssh: recordSession.optional() }),
            ])
            .optional(),
          loss_policy: z.enum(['best_effort', 'throttle', 'strict']).optional(),
          port_forwarding: z.boolean().optional(),
          forward_agent: z.boolean().optional(),
          permit_x11_forwarding: z.boolean().optional(),
          ssh_file_copy: z.boolean().optional(),
          /** Sessions of the user at once, on a node. */
          max_sessions: z.int().min(1).optional(),
          /** Make the account where the host lacks it; `insecure-drop` deletes it after its last session. */
          create_host_user_mode: z.enum(['off', 'keep', 'insecure-drop']).optional(),
          /** The older spelling: true is insecure-drop. */
          create_host_user: z.boolean().optional(),
          create_host_user_default_shell: shellPath.optional(),
          client_idle_timeout: duration.optional(),
          disconnect_expired_cert: z.boolean().optional(),
          /** Each session needs the second factor anew: a certificate for one node and login, good once. */
          require_session_mfa: z.boolean().optional(),
        })
        .optional(),
    })
    .optional(),
});

export const userDocument = z.strictObject({
  kind: z.literal('user'),
  ...head,
  spec: z.strictObject({
    roles: z.array(resourceName).min(1),
    traits: z.record(z.string(), z.array(z.string())).optional(),
    created: instant.optional(),
    /** Read only: the identity provider whose word this user is. Absent: a user of the cluster's own. */
    created_by: z
      .strictObject({
        connector_kind: z.enum(['oidc', 'github']),
        connector_name: z.string(),
        /** What the provider calls the person, for good: `sub`, or GitHub's number. */
        subject: z.string(),
        time: instant,
      })
      .optional(),
    /** Read only: what the user has set up, and since when log-ins are refused. */
    status: z
      .strictObject({
        password: z.boolean(),
        mfa_devices: z.array(z.strictObject({ name: z.string(), type: z.enum(['totp', 'webauthn']) })),
        locked_until: instant.optional(),
      })
      .optional(),
  }),
});

/** `metadata.name` is the token itself, masked unless asked for with secrets. */
export const tokenDocument = z.strictObject({
  kind: z.literal('token'),
  version: z.string().optional(),
  metadata: metadata.extend({ name: z.string().min(1).max(256) }),
  spec: z.strictObject({
    roles: z.array(z.enum(hostRoles)).min(1),
    /** Labels every host that joins with it gets. */
    labels: labels.optional(),
    /** Hosts that may still join with it; absent: any number until it expires. */
    uses_left: z.int().min(1).optional(),
    /** From the configuration file: never expires, cannot be deleted. */
    static: z.boolean().optional(),
  }),
});

export const lockTarget = z.union([
  z.strictObject({ user: z.string() }),
  z.strictObject({ role: z.string() }),
  z.strictObject({ login: z.string() }),
  z.strictObject({ node: z.string() }),
  z.strictObject({ mfa_device: z.string() }),
]);

export const lockDocument = z.strictObject({
  kind: z.literal('lock'),
  ...head,
  spec: z.strictObject({
    target: lockTarget,
    /** Shown to whoever is locked. */
    message: z.string().max(512).optional(),
    /** Only certificates made before it are locked: whoever logs in anew goes on. Not for nodes. */
    issued_before: instant.optional(),
    created_by: z.string().optional(),
    created: instant.optional(),
  }),
});

/** A host that is there: written by its heartbeats, gone when they stop (metadata.expires). Name: the host's uuid. */
export const nodeDocument = z.strictObject({
  kind: z.literal('node'),
  ...head,
  spec: z.strictObject({
    hostname: z.string().min(1).max(255),
    /** host:port a proxy dials; absent when the node is reached through its reverse tunnel. */
    addr: z.string().max(300).optional(),
    /** Connected by reverse tunnel. */
    tunnel: z.boolean(),
    labels: nodeLabels,
    version: z.string(),
    enhanced_recording: z.boolean().optional(),
    /** Believes a proxy's signed line about whose connection it hands over. Others are sent none. */
    takes_relay_line: z.boolean().optional(),
  }),
});

export const proxyDocument = z.strictObject({
  kind: z.literal('proxy'),
  ...head,
  spec: z.strictObject({
    hostname: z.string().min(1).max(255),
    /** host:port each, as clients and agents reach it. */
    web_addr: z.string(),
    ssh_addr: z.string(),
    tunnel_addr: z.string(),
    version: z.string(),
  }),
});

/** An auth server that is there: written by its heartbeats, gone when they stop. Name: the host's uuid. */
export const authServerDocument = z.strictObject({
  kind: z.literal('auth_server'),
  ...head,
  spec: z.strictObject({
    hostname: z.string().min(1).max(255),
    /** host:port of its API, as hosts of the cluster and proxies reach it. */
    addr: z.string().max(300),
    version: z.string(),
    /** Believes a proxy's signed line about whose connection it hands over. Others are sent none. */
    takes_relay_line: z.boolean().optional(),
    /** Alike on servers whose configuration says the same for the cluster. Tells nothing else. */
    settings_digest: z.string().max(64).optional(),
  }),
});

/** Public halves only. `name` is host or user. Trusted keys: the active first, then those a rotation adds or retires. */
export const certAuthorityDocument = z.strictObject({
  kind: z.literal('cert_authority'),
  ...head,
  spec: z.strictObject({
    type: z.enum(['host', 'user']),
    cluster_name: z.string(),
    /** OpenSSH public key lines. */
    ssh: z.array(z.string()).min(1),
    /** PEM certificates. */
    tls: z.array(z.string()).min(1),
    rotation: z.strictObject({
      phase: z.enum(['standby', 'init', 'update_clients', 'update_servers', 'rollback']),
      started: instant.optional(),
    }),
  }),
});

/** What the configuration of the auth host says for every host of the cluster. One, read only; name: the kind's. */
export const clusterSettingsDocument = z.strictObject({
  kind: z.literal('cluster_settings'),
  ...head,
  spec: z.strictObject({
    cluster_name: z.string(),
    /** Where no role says anything; absent: sessions may idle for ever. */
    client_idle_timeout: duration.optional(),
    /** Where no role says anything: does a connection end with its certificate? */
    disconnect_expired_cert: z.boolean(),
    session_recording: z.enum(['node', 'node-sync', 'proxy', 'proxy-sync', 'off']),
    /** Each session needs the second factor anew, whatever the roles say. */
    require_session_mfa: z.boolean().optional(),
  }),
});

/** An account that hosts of these labels have, whoever logs in. `metadata.name` is its name. */
export const staticHostUserDocument = z.strictObject({
  kind: z.literal('static_host_user'),
  version: z.string().optional(),
  metadata: metadata.extend({
    name: z.string().regex(/^[a-z_][a-z0-9_.-]{0,31}$/, 'must be the name of a new account of a host'),
  }),
  spec: z.strictObject({
    /** A host that two of them select gets none. */
    matchers: z
      .array(
        z.strictObject({
          node_labels: z
            .array(z.strictObject({ name: z.string().min(1), values: z.array(z.string()).min(1) }))
            .min(1),
          groups: z.array(hostGroup).max(64).optional(),
          sudoers: z.array(sudoersLine).max(64).optional(),
          /** Default: what the host gives. */
          uid: z.int().min(1).max(65_533).optional(),
          gid: z.int().min(1).max(65_533).optional(),
          default_shell: shellPath.optional(),
          /** Take over an account that is there already. */
          take_ownership_if_user_exists: z.boolean().optional(),
        }),
      )
      .min(1)
      .max(64),
  }),
});

export const resourceDocument = z.discriminatedUnion('kind', [
  roleDocument,
  userDocument,
  tokenDocument,
  lockDocument,
  nodeDocument,
  proxyDocument,
  authServerDocument,
  certAuthorityDocument,
  clusterSettingsDocument,
  oidcDocument,
  githubDocument,
  staticHostUserDocument,
]);
export type ResourceDocument = z.output<typeof resourceDocument>;
export type ResourceDocumentKind = ResourceDocument['kind'];
export type RoleDocument = z.output<typeof roleDocument>;
export type UserDocument = z.output<typeof userDocument>;
export type TokenDocument = z.output<typeof tokenDocument>;
export type LockDocument = z.output<typeof lockDocument>;
export type NodeDocument = z.output<typeof nodeDocument>;
export type ProxyDocument = z.output<typeof proxyDocument>;
export type AuthServerDocument = z.output<typeof authServerDocument>;
export type CertAuthorityDocument = z.output<typeof certAuthorityDocument>;
export type ClusterSettingsDocument = z.output<typeof clusterSettingsDocument>;
export type StaticHostUserDocument = z.output<typeof staticHostUserDocument>;
export const resourceKinds = [
  'role',
  'user',
  'token',
  'lock',
  'node',
  'proxy',
  'auth_server',
  'cert_authority',
  'cluster_settings',
  'oidc',
  'github',
  'static_host_user',
] as const;
