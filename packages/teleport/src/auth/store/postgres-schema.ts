// The store's tables and the functions that write them.
//
// Every write goes through one function call, which is one statement and so one transaction: it locks `head`, looks,
// writes, numbers its changes and tells whoever listens. Writers of all auth servers so come one after the other:
// a change's revision is its place in the order of commits, there are no holes in the numbers, and a reader who has
// seen revision n has seen everything up to n. What one call does is many commits of a server at once, so the lock
// costs little (see PostgresStore). Since no client ever holds a transaction open, a client that is stopped in the
// middle keeps nobody waiting.
import type { Migrations } from '../../postgres/migrate.ts';

/** What commit_batch answers for a write that found not what it expected. */
export const refusals = { absent: -1, present: -2, changed: -3, skipped: -9 } as const;
/** commit_batch: a batch that was given up arrives after a later one of its writer. Class SP is nobody's. */
export const staleBatch = 'SP001';

export const storeMigrations: Migrations = { part: 'store', up: [tables] };

function tables(schema: string): string {
  return `
  CREATE TABLE ${schema}.head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    revision bigint NOT NULL
  );
  INSERT INTO ${schema}.head (revision) VALUES (0);

  CREATE TABLE ${schema}.items (
    -- "C": by bytes, as the other stores sort.
    key text COLLATE "C" PRIMARY KEY,
    value text NOT NULL,
    revision bigint NOT NULL,
    -- Unix milliseconds; NULL: never.
    expires bigint
  );
  CREATE INDEX items_expires ON ${schema}.items (expires) WHERE expires IS NOT NULL;

  -- What watches read. The oldest are deleted; their numbers never come back.
  CREATE TABLE ${schema}.changes (
    revision bigint PRIMARY KEY,
    key text COLLATE "C" NOT NULL,
    gone boolean NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
  );

  -- The newest batch of each process that writes, and what it was answered: an answer that was lost can be asked for.
  CREATE TABLE ${schema}.writers (
    writer uuid PRIMARY KEY,
    batch bigint NOT NULL,
    answer bigint[] NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
  );

  CREATE FUNCTION ${schema}.clock(given bigint) RETURNS bigint LANGUAGE sql STABLE AS
    $$ SELECT coalesce(given, (extract(epoch FROM now()) * 1000)::bigint) $$;

  -- One entry a write. \`part\`: writes with the same number are one commit. \`expects\`: any, some, none or a revision.
  -- Answers for each write: the revision of a put, 0, or a refusal (see refusals).
  CREATE FUNCTION ${schema}.commit_batch(
    by_writer uuid, number bigint, given_clock bigint,
    part int[], kind text[], keys text[], vals text[], expiry bigint[], expects text[]
  ) RETURNS bigint[] LANGUAGE plpgsql AS $$
  DECLARE
    now_ms bigint := ${schema}.clock(given_clock);
    writes int := cardinality(keys);
    results bigint[] := array_fill(0::bigint, ARRAY[cardinality(keys)]);
    before bigint;
    rev bigint;
    known record;
    held bigint;
    refused int;
    first int := 1;
    last int;
  BEGIN
    SELECT h.revision INTO before FROM ${schema}.head h FOR UPDATE;
    SELECT w.batch, w.answer INTO known FROM ${schema}.writers w WHERE w.writer = by_writer;
    IF FOUND AND known.batch = number THEN RETURN known.answer; END IF;
    IF FOUND AND known.batch > number THEN
      RAISE EXCEPTION 'batch % comes after batch %', number, known.batch USING ERRCODE = '${staleBatch}';
    END IF;
    rev := before;
    WHILE first <= writes LOOP
      last := first;
      WHILE last < writes AND part[last + 1] = part[first] LOOP last := last + 1; END LOOP;
      -- Every condition before the first write: a commit that fails has nothing to undo.
      refused := 0;
      FOR i IN first..last LOOP
        CONTINUE WHEN expects[i] = 'any';
        SELECT t.revision INTO held FROM ${schema}.items t
          WHERE t.key = keys[i] AND (t.expires IS NULL OR t.expires > now_ms);
        IF NOT FOUND THEN held := NULL; END IF;
        IF expects[i] = 'none' THEN
          IF held IS NOT NULL THEN refused := ${refusals.present}; END IF;
        ELSIF held IS NULL THEN refused := ${refusals.absent};
        ELSIF expects[i] <> 'some' AND expects[i] <> held::text THEN refused := ${refusals.changed};
        END IF;
        IF refused <> 0 THEN
          FOR j IN first..last LOOP results[j] := ${refusals.skipped}; END LOOP;
          results[i] := refused;
          EXIT;
        END IF;
      END LOOP;
      IF refused = 0 THEN
        FOR i IN first..last LOOP
          IF kind[i] = 'put' THEN
            rev := rev + 1;
            INSERT INTO ${schema}.items AS t (key, value, revision, expires)
              VALUES (keys[i], vals[i], rev, expiry[i])
              ON CONFLICT (key) DO UPDATE
              SET value = excluded.value, revision = excluded.revision, expires = excluded.expires;
            INSERT INTO ${schema}.changes (revision, key, gone) VALUES (rev, keys[i], false);
            results[i] := rev;
          ELSIF kind[i] = 'delete' THEN
            DELETE FROM ${schema}.items t WHERE t.key = keys[i];
            -- A delete of what is not there is no change.
            IF FOUND THEN
              rev := rev + 1;
              INSERT INTO ${schema}.changes (revision, key, gone) VALUES (rev, keys[i], true);
            END IF;
          END IF;
        END LOOP;
      END IF;
      first := last + 1;
    END LOOP;
    IF rev = before THEN RETURN results; END IF;
    UPDATE ${schema}.head SET revision = rev;
    INSERT INTO ${schema}.writers AS w (writer, batch, answer) VALUES (by_writer, number, results)
      ON CONFLICT (writer) DO UPDATE SET batch = excluded.batch, answer = excluded.answer, at = now();
    PERFORM pg_notify('${channelOf(schema)}', rev::text);
    RETURN results;
  END $$;

  -- Expired items are gone for readers anyway; this frees their room and tells the watches. Old changes go, too.
  CREATE FUNCTION ${schema}.sweep(given_clock bigint, keep bigint, at_most int) RETURNS bigint LANGUAGE plpgsql AS $$
  DECLARE
    now_ms bigint := ${schema}.clock(given_clock);
    rev bigint;
    before bigint;
    expired text;
  BEGIN
    SELECT h.revision INTO before FROM ${schema}.head h;
    IF NOT EXISTS (SELECT FROM ${schema}.items t WHERE t.expires <= now_ms)
      AND NOT EXISTS (SELECT FROM ${schema}.changes c WHERE c.revision <= before - keep) THEN RETURN 0; END IF;
    -- Somebody writes: the next round will do.
    SELECT h.revision INTO before FROM ${schema}.head h FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN RETURN 0; END IF;
    rev := before;
    FOR expired IN
      DELETE FROM ${schema}.items t WHERE t.key IN
        (SELECT e.key FROM ${schema}.items e WHERE e.expires <= now_ms LIMIT at_most)
      RETURNING t.key
    LOOP
      rev := rev + 1;
      INSERT INTO ${schema}.changes (revision, key, gone) VALUES (rev, expired, true);
    END LOOP;
    DELETE FROM ${schema}.changes c WHERE c.revision <= rev - keep;
    DELETE FROM ${schema}.writers w WHERE w.at < now() - interval '1 day';
    IF rev > before THEN
      UPDATE ${schema}.head SET revision = rev;
      PERFORM pg_notify('${channelOf(schema)}', rev::text);
    END IF;
    RETURN rev - before;
  END $$;
  `;
}

/** Of NOTIFY; `schema` is quoted already, and its quotes are part of the name. */
export function channelOf(schema: string): string {
  return `${schema.replaceAll('"', '')}_changes`;
}

/** When a change was made, µs: with its number it is told from another of a database that was put back from a backup. */
export function stampOf(changes: string): string {
  return `(extract(epoch FROM ${changes}.at) * 1000000)::bigint`;
}
