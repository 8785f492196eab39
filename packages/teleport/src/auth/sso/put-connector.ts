// Writing connectors: the secret that was not given again is kept, a name belongs to one of them, and it is told.
import type { ConnectorDocument, ConnectorKind } from '@sallyport/contracts/api/connectors.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import type { Caller } from '../api/handler.ts';
import { keyOf, putDocument, readDocumentOf } from '../documents.ts';
import { actorOf, type Parts } from '../parts.ts';
import type { Condition } from '../store/store.ts';
import { withStoredSecret } from './connectors.ts';

/** So many buttons fit on a log-in page. */
const maxConnectors = 32;

export async function putConnector(
  { store, journal }: Parts,
  document: ConnectorDocument,
  expect: Condition,
  caller: Caller,
): Promise<void> {
  const { kind, metadata } = document;
  const stored = await readDocumentOf(store, kind, metadata.name);
  const other: ConnectorKind = kind === 'oidc' ? 'github' : 'oidc';
  if (stored === undefined) await refuseTooMany(store);
  const told = connectorTold(kind, stored === undefined ? 'created' : 'updated', metadata.name, caller);
  // `tsh login --auth=NAME` names no kind.
  const alone = { type: 'check', key: keyOf(other, metadata.name), expect: 'nothing' } as const;
  if ((await store.get(alone.key)) !== undefined) {
    throw new AppError(
      'conflict',
      'auth.already_exists',
      `There is a ${other} connector "${metadata.name}" already.`,
    );
  }
  await journal.commit([putDocument(withStoredSecret(document, stored), { expect }), alone], [told]);
}

async function refuseTooMany(store: Parts['store']): Promise<void> {
  const all = await Promise.all((['oidc/', 'github/'] as const).map((prefix) => store.range(prefix)));
  if (all.flat().length < maxConnectors) return;
  throw new AppError('limit', 'auth.too_many_connectors', `There are ${maxConnectors} connectors already.`);
}

const codes = {
  oidc: { created: 'T8100I', deleted: 'T8101I', updated: 'T8102I' },
  github: { created: 'T8000I', deleted: 'T8001I', updated: 'T8002I' },
} as const;

export function connectorTold(
  kind: ConnectorKind,
  what: 'created' | 'updated' | 'deleted',
  name: string,
  caller: Caller,
): EventDraft {
  // Name and code belong together by the table; the types cannot follow a template.
  return { event: `${kind}.${what}`, code: codes[kind][what], name, ...actorOf(caller) } as EventDraft;
}
