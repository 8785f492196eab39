// Resources by kind and name, as a watch tells of them. Bounded: a peer that never stops sending is not believed.
import type { ResourceDocument, ResourceDocumentKind } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';

type OfKind<K extends ResourceDocumentKind> = Extract<ResourceDocument, { readonly kind: K }>;

export type ResourceChange =
  | { readonly type: 'put'; readonly resource: ResourceDocument; readonly position?: string | undefined }
  | {
      readonly type: 'delete';
      readonly kind: ResourceDocumentKind;
      readonly name: string;
      readonly position?: string | undefined;
    }
  | { readonly type: 'synced'; readonly position?: string | undefined };

const beating: ReadonlySet<ResourceDocumentKind> = new Set(['node', 'proxy', 'auth_server']);
const maxResources = 200_000;

export class ResourceSet {
  readonly #kinds = new Map<ResourceDocumentKind, Map<string, ResourceDocument>>();
  /** Lists are asked for at every log-in and change rarely. */
  readonly #lists = new Map<ResourceDocumentKind, readonly ResourceDocument[]>();
  #size = 0;

  constructor(resources: Iterable<ResourceDocument> = []) {
    for (const resource of resources) this.apply({ type: 'put', resource });
  }

  get size(): number {
    return this.#size;
  }

  of<K extends ResourceDocumentKind>(kind: K): readonly OfKind<K>[] {
    const list = this.#lists.get(kind) ?? [...(this.#kinds.get(kind)?.values() ?? [])];
    this.#lists.set(kind, list);
    return list as readonly OfKind<K>[];
  }

  *[Symbol.iterator](): Generator<ResourceDocument> {
    for (const resources of this.#kinds.values()) yield* resources.values();
  }

  /** True: something but a life that was prolonged is different now. */
  apply(change: ResourceChange): boolean {
    if (change.type === 'synced') return false;
    if (change.type === 'delete') return this.#delete(change.kind, change.name);
    const { resource } = change;
    const { kind, metadata } = resource;
    const resources = this.#kinds.get(kind) ?? new Map<string, ResourceDocument>();
    const before = resources.get(metadata.name);
    if (before === undefined && ++this.#size > maxResources) {
      throw new AppError(
        'limit',
        'membership.too_many',
        `The cluster has more than ${maxResources} resources.`,
      );
    }
    this.#kinds.set(kind, resources.set(metadata.name, resource));
    this.#lists.delete(kind);
    return before === undefined || contentOf(before) !== contentOf(resource);
  }

  same(other: ResourceSet): boolean {
    if (this.#size !== other.#size) return false;
    for (const resource of other) {
      const mine = this.#kinds.get(resource.kind)?.get(resource.metadata.name);
      if (mine === undefined || contentOf(mine) !== contentOf(resource)) return false;
    }
    return true;
  }

  #delete(kind: ResourceDocumentKind, name: string): boolean {
    if (this.#kinds.get(kind)?.delete(name) !== true) return false;
    this.#size--;
    this.#lists.delete(kind);
    return true;
  }
}

/** Heartbeats change these two and nothing else. A lock's end is part of what it says. */
function contentOf(resource: ResourceDocument): string {
  const { revision: _, expires, ...metadata } = resource.metadata;
  const beats = beating.has(resource.kind);
  return JSON.stringify({ ...resource, metadata: beats ? metadata : { ...metadata, expires } });
}
