// The enums of wire.h as the words of kernel-event.ts, derived from the generated tables: a value added in C
// without a word here fails the type check where it is used, not at run time.
import { attribution_reason, feature, kind, lost_cause, outcome, path_source, source } from './wire.gen.ts';

type Word<K, P extends string> = K extends `${P}${infer Rest}` ? Lowercase<Rest> : never;

/** `{ KIND_DISK: 1 }` with prefix `KIND_` → `[…, 'disk']`, indexed by the value. */
function words<E extends Record<string, number>, P extends string>(table: E, prefix: P) {
  const list: Word<keyof E, P>[] = [];
  for (const [name, value] of Object.entries(table)) {
    list[value] = name.slice(prefix.length).toLowerCase() as Word<keyof E, P>;
  }
  return list as readonly Word<keyof E, P>[];
}

export const kindWords = words(kind, 'KIND_').slice(0, kind.KIND_COUNT) as readonly Exclude<
  Word<keyof typeof kind, 'KIND_'>,
  'count'
>[];
export const sourceWords = words(source, 'SOURCE_');
export const pathSourceWords = words(path_source, 'PATH_');
export const outcomeWords = words(outcome, 'OUTCOME_');
export const attributionWords = words(attribution_reason, 'ATTRIBUTION_');
export const lostCauseWords = words(lost_cause, 'LOST_');
export const featureWords = words(feature, 'FEATURE_');
