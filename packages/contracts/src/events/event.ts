// The door to the events: what other rooms import.

export { wireInteger } from './blocks.ts';
export * from './bytes.ts';
export {
  type AuditEvent,
  type CatalogEntry,
  catalog,
  type EventCode,
  type EventName,
  type EventOf,
  entryOf,
  sentence,
} from './catalog.ts';
export type { EventDraft } from './draft.ts';
export { checkEvent, type ParsedEvent, parseEvent } from './parse.ts';
export { shown } from './phrase.ts';
export { serialize, serializeLine } from './serialize.ts';
export { dataEi, uploadEi } from './session.ts';
