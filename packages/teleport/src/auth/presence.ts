// Which hosts are there: what their heartbeats wrote in the last two minutes, and who may see them.
import type {
  AuthServerDocument,
  NodeDocument,
  ProxyDocument,
  ResourceDocument,
} from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { allowedLogins, decideAccess, mayReach } from './access.ts';
import type { Caller } from './api/handler.ts';
import { listDocuments, putDocument } from './documents.ts';
import { type HostRecord, readHost, refuseForeignNames } from './join/hosts.ts';
import type { Parts } from './parts.ts';

/** Heartbeats come every half a minute or so: three may get lost. */
export const presenceTtlMs = 120_000;

export type PresentDocument = NodeDocument | ProxyDocument | AuthServerDocument;

const roleOf = { node: 'node', proxy: 'proxy', auth_server: 'auth' } as const;

type HostCaller = Extract<Caller, { readonly kind: 'host' }>;

export class Presence {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** A host writes about itself only, and only in a role it has. */
  async heartbeat(
    kind: PresentDocument['kind'],
    document: ResourceDocument,
    caller: HostCaller,
  ): Promise<{ expires: string }> {
    const { store, now } = this.#parts;
    if (document.kind !== 'node' && document.kind !== 'proxy' && document.kind !== 'auth_server')
      throw wrongKind(document.kind);
    if (document.kind !== kind) throw wrongKind(document.kind);
    const role = roleOf[kind];
    if (!caller.roles.includes(role))
      throw new AppError('denied', 'presence.wrong_role', `This host does not have the role ${role}.`);
    const host = await readHost(store, caller.hostUuid);
    if (host === undefined)
      throw new AppError('denied', 'auth.no_host', 'This host was removed from the cluster.');
    await this.#refusePosing(document, host.record);
    const expires = new Date(now().getTime() + presenceTtlMs).toISOString();
    const { revision: _, ...metadata } = document.metadata;
    const written = withLabels({ ...document, metadata: { ...metadata, expires } }, host.record);
    await store.commit([putDocument(written)]);
    return { expires };
  }

  /** The nodes this user may log in to with some login, by name and then by uuid. */
  async nodesFor(user: string): Promise<readonly NodeDocument[]> {
    const { directory, store, now } = this.#parts;
    const { user: account, roles } = await directory.account(user);
    const logins = allowedLogins(roles, account.traits);
    const [nodes, locks] = await Promise.all([listDocuments(store, 'node'), directory.locks()]);
    const question = { user, roles, traits: account.traits, locks, now: now(), issued: now() };
    const visible = nodes.filter(({ metadata, spec }) => {
      const node = { labels: spec.labels, hostUuid: metadata.name, hostname: spec.hostname };
      // A node that asks for the second factor is one they may log in to all the same.
      return logins.some((login) => mayReach(decideAccess({ ...question, login, node })));
    });
    return byName(visible);
  }

  async #refusePosing(document: PresentDocument, record: HostRecord): Promise<void> {
    const { journal } = this.#parts;
    try {
      if (document.metadata.name !== record.hostUuid)
        throw new AppError('denied', 'presence.foreign_host', 'A host may announce itself only.');
      await refuseForeignNames(this.#parts, record, [document.spec.hostname]);
    } catch (error) {
      const { message } = AppError.from(error);
      await journal.commit(
        [],
        [
          {
            event: 'instance.join',
            code: 'TJ002E',
            user: record.hostUuid,
            user_kind: 3,
            host_id: record.hostUuid,
            node_name: document.spec.hostname,
            method: 'heartbeat',
            success: false,
            error: message,
          },
        ],
      );
      throw error;
    }
  }
}

/** Labels of the token win: they are how an administrator says what a host is, whatever the host says. */
function withLabels(document: PresentDocument, { labels }: HostRecord): PresentDocument {
  if (document.kind !== 'node' || labels === undefined) return document;
  return { ...document, spec: { ...document.spec, labels: { ...document.spec.labels, ...labels } } };
}

export function byName(nodes: readonly NodeDocument[]): NodeDocument[] {
  const key = ({ spec, metadata }: NodeDocument) => `${spec.hostname}\0${metadata.name}`;
  return [...nodes].sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

/**
 * The node somebody means by uuid, name or address. More than one of a name is an error that names them: never the
 * first that comes along.
 */
export function pickNode(nodes: readonly NodeDocument[], wanted: string): NodeDocument {
  const exact = nodes.find(({ metadata }) => metadata.name === wanted);
  if (exact !== undefined) return exact;
  const named = nodes.filter(({ spec }) => spec.hostname === wanted || spec.addr === wanted);
  const [only] = named;
  if (only === undefined) throw new AppError('not_found', 'auth.no_node', `There is no node "${wanted}".`);
  if (named.length === 1) return only;
  const candidates = named.map(({ metadata, spec }) => `${metadata.name} (${spec.addr ?? 'tunnel'})`).sort();
  throw new AppError(
    'conflict',
    'auth.ambiguous',
    `"${wanted}" is the name of ${named.length} nodes: ${candidates.join(', ')}.`,
    {
      hint: 'Name one by its uuid.',
    },
  );
}

function wrongKind(kind: string): AppError {
  return new AppError('bad_input', 'presence.wrong_kind', `A heartbeat cannot write a ${kind}.`);
}
