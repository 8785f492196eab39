// Resources in the store: `<kind>/<name>` → the document, as JSON, without its revision (the store has that).
import type { ResourceDocument, ResourceDocumentKind } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Item, Store, Write } from './store/store.ts';

/** Authorities are files, settings the configuration: not items. */
export type StoredKind = Exclude<ResourceDocumentKind, 'cert_authority' | 'cluster_settings'>;
export type DocumentOf<K extends ResourceDocumentKind> = Extract<ResourceDocument, { kind: K }>;

export function keyOf(kind: StoredKind, name: string): string {
  return `${kind}/${name}`;
}

/** With `metadata.revision`. */
export async function readDocumentOf<K extends StoredKind>(
  store: Store,
  kind: K,
  name: string,
): Promise<DocumentOf<K> | undefined> {
  const item = await store.get(keyOf(kind, name));
  return item && parseItem(item);
}

/** By name. */
export async function listDocuments<K extends StoredKind>(
  store: Store,
  kind: K,
): Promise<readonly DocumentOf<K>[]> {
  return (await store.range(`${kind}/`)).map((item) => parseItem<K>(item));
}

/** What was put into the store is of the shape that was checked on its way in; it is not checked again. */
export function parseItem<K extends StoredKind>({ key, value, revision }: Item): DocumentOf<K> {
  try {
    const document = JSON.parse(value) as DocumentOf<StoredKind>;
    return { ...document, metadata: { ...document.metadata, revision } } as DocumentOf<K>;
  } catch (cause) {
    throw new AppError('unavailable', 'auth.bad_record', `${key} is damaged: it is not JSON.`, { cause });
  }
}

/** `keepMs`: for so long after its end the document can still be found, to tell "expired" from "unknown". */
export function putDocument(
  document: DocumentOf<StoredKind>,
  { expect, keepMs = 0 }: { readonly expect?: Write['expect']; readonly keepMs?: number } = {},
): Write {
  const { revision: _, ...metadata } = document.metadata;
  const expires =
    metadata.expires === undefined ? undefined : new Date(Date.parse(metadata.expires) + keepMs);
  return {
    type: 'put',
    key: keyOf(document.kind, metadata.name),
    value: JSON.stringify({ ...document, metadata }),
    expires,
    ...(expect === undefined ? {} : { expect }),
  };
}
