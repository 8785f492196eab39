// The audit log's tables and the function that appends to it.
//
// Appends of all auth servers take turns on `log_head`, as the store's commits do: an event's number is its place in
// the order of commits, so whoever reads page by page never finds something new before what was read. One call
// carries many appends, and is one statement: nobody holds the lock while waiting for a network.
//
// Partitions are days (UTC) of arrival, not of what an event says of its time: a host with a wrong or lying clock
// cannot put events where the retention drops them next. Days only go forward, so the order of numbers is the order
// of partitions.
import type { Migrations } from '../postgres/migrate.ts';

export const auditMigrations: Migrations = { part: 'audit', up: [tables, appendEvents, textBlocks] };

function tables(schema: string): string {
  return `
  CREATE TABLE ${schema}.log_head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    seq bigint NOT NULL,
    day date NOT NULL
  );
  INSERT INTO ${schema}.log_head (seq, day) VALUES (0, '1970-01-01');

  CREATE TABLE ${schema}.events (
    day date NOT NULL,
    seq bigint NOT NULL,
    uid uuid NOT NULL,
    -- Unix milliseconds, as the event says.
    time bigint NOT NULL,
    event text NOT NULL,
    code text NOT NULL,
    "user" text,
    sid text,
    -- The event as everywhere else: one line of JSON, keys sorted.
    line text NOT NULL,
    PRIMARY KEY (uid, day)
  ) PARTITION BY RANGE (day);
  CREATE INDEX events_seq ON ${schema}.events (seq);
  CREATE INDEX events_sid ON ${schema}.events (sid, seq) WHERE sid IS NOT NULL;
  CREATE INDEX events_user ON ${schema}.events ("user", seq) WHERE "user" IS NOT NULL;
  CREATE INDEX events_event ON ${schema}.events (event, seq);

  -- The days that have events, and with which number each begins.
  CREATE TABLE ${schema}.log_days (day date PRIMARY KEY, first_seq bigint NOT NULL);

  -- How far the log has each host's streams.
  CREATE TABLE ${schema}.positions (
    host text NOT NULL,
    stream text NOT NULL,
    next bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (host, stream)
  );
  ${appendEvents(schema)}
  `;
}

/** A version that changes it makes it anew: fresh tables get the newest at once. */
function appendEvents(schema: string): string {
  return `
  -- Events with their place, an index into the four arrays before; 0: of none. \`late\`: ids that an earlier day may
  -- hold already, from \`late_from\` on. Answers the position expected next of each place.
  CREATE OR REPLACE FUNCTION ${schema}.append_events(
    given_day date, hosts text[], streams text[], firsts bigint[], nexts bigint[], late uuid[], late_from date,
    places int[], uids uuid[], times bigint[], names text[], codes text[], users text[], sids text[], lines text[]
  ) RETURNS bigint[] LANGUAGE plpgsql SET enable_seqscan = off AS $$
  DECLARE
    given int := coalesce(cardinality(uids), 0);
    expected bigint[] := '{}';
    taken boolean[] := '{}';
    known bigint;
    told uuid[] := '{}';
    last_seq bigint;
    last_day date;
    today date;
  BEGIN
    SELECT h.seq, h.day INTO last_seq, last_day FROM ${schema}.log_head h FOR UPDATE;
    today := greatest(coalesce(given_day, (now() AT TIME ZONE 'UTC')::date), last_day);
    FOR i IN 1..coalesce(cardinality(hosts), 0) LOOP
      SELECT p.next INTO known FROM ${schema}.positions p WHERE p.host = hosts[i] AND p.stream = streams[i];
      IF NOT FOUND THEN
        known := 0;
        -- A host begins a stream when its outbox was damaged or lost: the latest are remembered.
        DELETE FROM ${schema}.positions p WHERE p.host = hosts[i] AND p.stream IN
          (SELECT o.stream FROM ${schema}.positions o WHERE o.host = hosts[i] ORDER BY o.at DESC OFFSET 7);
      END IF;
      taken[i] := known = firsts[i];
      expected[i] := CASE WHEN taken[i] THEN nexts[i] ELSE known END;
      IF taken[i] THEN
        INSERT INTO ${schema}.positions AS p (host, stream, next) VALUES (hosts[i], streams[i], nexts[i])
          ON CONFLICT (host, stream) DO UPDATE SET next = excluded.next, at = now();
      END IF;
    END LOOP;
    IF given = 0 THEN RETURN expected; END IF;
    IF late IS NOT NULL THEN
      SELECT coalesce(array_agg(e.uid), '{}') INTO told FROM ${schema}.events e
        WHERE e.uid = ANY (late) AND e.day >= late_from AND e.day < today;
    END IF;
    IF today > last_day THEN
      INSERT INTO ${schema}.log_days (day, first_seq) VALUES (today, last_seq + 1);
    END IF;
    -- Whoever appends holds the lock, so what is there is there: looked for only when something is, since looking for
    -- each costs a tenth of an append.
    BEGIN
      INSERT INTO ${schema}.events (day, seq, uid, time, event, code, "user", sid, line)
        SELECT today, last_seq + u.n, u.uid, u.time, u.name, u.code, u."user", u.sid, u.line
        FROM unnest(places, uids, times, names, codes, users, sids, lines)
          WITH ORDINALITY AS u (place, uid, time, name, code, "user", sid, line, n)
        WHERE (u.place = 0 OR taken[u.place]) AND (told = '{}' OR NOT u.uid = ANY (told));
    EXCEPTION WHEN unique_violation THEN
      -- It keeps its first place.
      INSERT INTO ${schema}.events (day, seq, uid, time, event, code, "user", sid, line)
        SELECT today, last_seq + u.n, u.uid, u.time, u.name, u.code, u."user", u.sid, u.line
        FROM unnest(places, uids, times, names, codes, users, sids, lines)
          WITH ORDINALITY AS u (place, uid, time, name, code, "user", sid, line, n)
        WHERE (u.place = 0 OR taken[u.place]) AND (told = '{}' OR NOT u.uid = ANY (told))
        ON CONFLICT DO NOTHING;
    END;
    UPDATE ${schema}.log_head SET seq = last_seq + given, day = today;
    RETURN expected;
  END $$;
  `;
}

function textBlocks(schema: string): string {
  return `
  -- Which texts may be in the events of these numbers, see text-digest.ts.
  CREATE TABLE ${schema}.text_blocks (
    day date NOT NULL,
    first_seq bigint NOT NULL,
    next_seq bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (day, first_seq)
  );
  -- Not compressed: a byte of it can be read alone.
  ALTER TABLE ${schema}.text_blocks ALTER digest SET STORAGE EXTERNAL;

  -- How far digests are made, and which process makes them until when.
  CREATE TABLE ${schema}.text_head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    next_seq bigint NOT NULL,
    holder uuid,
    until timestamptz NOT NULL
  );
  INSERT INTO ${schema}.text_head (next_seq, until) VALUES (0, now());
  `;
}
