// Where users and roles are kept. Small on purpose: a file, SQLite or PostgreSQL must all fit behind it.
// Every implementation runs store.contract.ts.
import type { Role } from './role.ts';
import type { User } from './user.ts';

/** Kind → what is stored under it. */
export interface Resources {
  readonly user: User;
  readonly role: Role;
}
export type ResourceKind = keyof Resources;

export interface Stored<T> {
  readonly name: string;
  /** Opaque; changes with every write. */
  readonly revision: string;
  readonly value: T;
}

/** What a write expects to find: nothing (`create`), exactly that revision, or anything (`overwrite`). */
export type Expected = 'create' | 'overwrite' | { readonly revision: string };

export interface Store {
  get<K extends ResourceKind>(kind: K, name: string): Promise<Stored<Resources[K]> | undefined>;
  /** Rejects with kind `conflict` when what is there is not what was expected. */
  put<K extends ResourceKind>(
    kind: K,
    name: string,
    value: Resources[K],
    expected: Expected,
  ): Promise<Stored<Resources[K]>>;
  /** By name, ascending. */
  list<K extends ResourceKind>(kind: K): Promise<readonly Stored<Resources[K]>[]>;
  /** Rejects with kind `not_found` when there is nothing to delete. */
  delete(kind: ResourceKind, name: string): Promise<void>;
}
