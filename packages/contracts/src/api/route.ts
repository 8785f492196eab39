// What an endpoint is: method, path, who may call it, and the shapes that cross. Server, typed client and the
// reference page are all made from these values, so that they cannot differ.
import type { z } from 'zod';

/**
 * Who may call a route. The server refuses everybody else before the handler runs; a handler may refuse more
 * (a host writes about itself only), never less.
 * - `anyone`: no identity at all; rate-limited by address
 * - `admin`: the auth host's own administrator (local socket) — always allowed everywhere
 * - `host`: a joined host with one of these roles; without the list, any joined host
 * - `user`: any user with a valid certificate; with `rule`, one whose roles allow that verb on that resource
 */
export type Access =
  | 'anyone'
  | {
      readonly host?: readonly HostRole[] | true;
      readonly user?: true | { readonly resource: RuledResource; readonly verb: Verb };
    };

export const hostRoles = ['auth', 'proxy', 'node'] as const;
export type HostRole = (typeof hostRoles)[number];

/** What `allow.rules` of a role speaks of, beside `*`. */
export const ruledResources = [
  'user',
  'role',
  'token',
  'node',
  'proxy',
  'auth_server',
  'lock',
  'cert_authority',
  'event',
  'session',
  'cluster_settings',
  'oidc',
  'github',
  'static_host_user',
] as const;
export type RuledResource = (typeof ruledResources)[number];

export const verbs = ['list', 'read', 'create', 'update', 'delete'] as const;
export type Verb = (typeof verbs)[number];

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

export interface Route {
  readonly method: Method;
  /** `:name` marks a parameter. */
  readonly path: string;
  /** One sentence for the reference. */
  readonly summary: string;
  readonly access: Access;
  readonly params?: z.ZodType;
  /** All values arrive as text; the schema turns them into what they mean. */
  readonly query?: z.ZodType;
  readonly body?: z.ZodType;
  /** With `stream`, the shape of each line. */
  readonly result: z.ZodType;
  /** The answer is JSON lines (application/x-ndjson) that go on until either side hangs up. */
  readonly stream?: true;
  /** Largest body, bytes. Default 1 MiB. */
  readonly bodyLimit?: number;
  /**
   * Part of proving who one is: so many a minute for each person's address, which the calling proxy names in the
   * body's `remote_addr`; where the body has none, the address of the connection.
   */
  readonly rate?: 'log_in';
}

/** Keeps the exact types of the shapes. */
export function route<const R extends Route>(definition: R): R {
  return definition;
}

type Part = 'params' | 'query' | 'body';
type Input<R, P extends Part> = R extends { readonly [K in P]: infer S extends z.ZodType }
  ? z.input<S>
  : undefined;
type Output<R, P extends Part> = R extends { readonly [K in P]: infer S extends z.ZodType }
  ? z.output<S>
  : undefined;

/** What a caller of the route hands over. */
export type RequestOf<R> = (Input<R, 'params'> extends undefined
  ? unknown
  : { readonly params: Input<R, 'params'> }) &
  (Input<R, 'query'> extends undefined ? unknown : { readonly query?: Input<R, 'query'> }) &
  (Input<R, 'body'> extends undefined ? unknown : { readonly body: Input<R, 'body'> });

/** What the handler receives: parsed, defaults filled in. */
export interface ArrivedOf<R> {
  readonly params: Output<R, 'params'>;
  readonly query: Output<R, 'query'>;
  readonly body: Output<R, 'body'>;
}

/** What the route answers with (each line, for a stream). */
export type ResultOf<R> = R extends { readonly result: infer S extends z.ZodType } ? z.output<S> : never;

/** `{"error":{"message":…}}`, with our code and hint beside the message. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly code: string;
    readonly kind: string;
    readonly hint?: string;
    /** Also in the X-Request-Id header and in the server's log. */
    readonly request_id?: string;
  };
}
