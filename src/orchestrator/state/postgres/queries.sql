-- Every statement of the store, by name. {s} is the schema; $1, $2, ... are bound, always.

-- name: examine
-- What the server is and promises, and what stands in the schema.
SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), current_setting('fsync'),
       current_setting('full_page_writes'), pg_is_in_recovery(), current_setting('synchronous_commit'),
       current_setting('synchronous_standby_names'),
       EXISTS (SELECT FROM pg_namespace WHERE nspname = $1),
       (SELECT array_agg(c.relname ORDER BY c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f'))::text[]

-- name: meta
SELECT key, value FROM {s}.meta

-- name: make_schema
CREATE SCHEMA {s}

-- name: make_meta
CREATE TABLE {s}.meta (key text PRIMARY KEY, value text NOT NULL);
INSERT INTO {s}.meta VALUES ('store', 'durable-orchestrator'), ('format', '0'), ('uuid', gen_random_uuid()::text)

-- name: set_format
UPDATE {s}.meta SET value = $1 WHERE key = 'format'

-- name: migration_lock
SELECT pg_advisory_xact_lock(hashtextextended('durable-orchestrator ' || $1, 0))

-- name: create
-- Nothing is written if the id is taken, or a value that is only referred to ($20) is not there. One that is deleted
-- just now makes the statement fail, by the foreign key, and it is tried again.
WITH me AS (
    INSERT INTO {s}.executions (execution_id, born, pipeline_id, status, total, seq, head, completed, created_at,
        updated_at, epoch, owner, token, lease_until, queue, priority, waiting, due)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, clock_timestamp() + make_interval(secs => $14),
        $15::text, $16::bigint, $15::text IS NOT NULL, $21::float8
    WHERE NOT EXISTS (SELECT FROM unnest($20::bytea[]) AS v (digest)
                      WHERE NOT EXISTS (SELECT FROM {s}.vals k WHERE k.digest = v.digest))
    ON CONFLICT (execution_id) DO NOTHING
    RETURNING id
), kept AS (
    INSERT INTO {s}.vals SELECT v.digest, v.record FROM me, unnest($18::bytea[], $19::bytea[]) AS v (digest, record)
    ON CONFLICT DO NOTHING
), referred AS (
    INSERT INTO {s}.refs SELECT me.id, v.digest FROM me, unnest($18::bytea[] || $20::bytea[]) AS v (digest)
    ON CONFLICT DO NOTHING
)
INSERT INTO {s}.journal (execution, last, at, completed, record) SELECT id, $6, $10, $8, $17 FROM me
RETURNING execution

-- name: born
SELECT born FROM {s}.executions WHERE execution_id = $1

-- name: append
-- The fence, the expected seq and the facts are one statement. Where another writer holds the row, the condition is
-- evaluated again on what that one left behind.
WITH me AS (
    UPDATE {s}.executions
    SET seq = $5, completed = $7, updated_at = $6
    WHERE execution_id = $1 AND epoch = $2 AND token = $3 AND seq = $4
    RETURNING id
)
INSERT INTO {s}.journal (execution, last, at, completed, record) SELECT id, $5, $6, $7, $8 FROM me
RETURNING execution

-- name: append_more
-- The same with values, with a change of the list, or with the owner's last facts ($10: it gives the execution back).
-- Values that are only referred to ($15) as in `create`.
WITH me AS (
    UPDATE {s}.executions
    SET seq = $5, completed = $7, updated_at = $6, status = coalesce($9, status),
        owner = CASE WHEN $10 THEN NULL ELSE owner END, token = CASE WHEN $10 THEN NULL ELSE token END,
        waiting = waiting AND NOT $11, total = coalesce($12, total),
        due = CASE WHEN $9 IS NULL THEN due WHEN mail THEN 0 ELSE $16::float8 END
    WHERE execution_id = $1 AND epoch = $2 AND token = $3 AND seq = $4
      AND NOT EXISTS (SELECT FROM unnest($15::bytea[]) AS v (digest)
                      WHERE NOT EXISTS (SELECT FROM {s}.vals k WHERE k.digest = v.digest))
    RETURNING id
), kept AS (
    INSERT INTO {s}.vals SELECT v.digest, v.record FROM me, unnest($13::bytea[], $14::bytea[]) AS v (digest, record)
    ON CONFLICT DO NOTHING
), referred AS (
    INSERT INTO {s}.refs SELECT me.id, v.digest FROM me, unnest($13::bytea[] || $15::bytea[]) AS v (digest)
    ON CONFLICT DO NOTHING
)
INSERT INTO {s}.journal (execution, last, at, completed, record) SELECT id, $5, $6, $7, $8 FROM me
RETURNING execution

-- name: gone_values
SELECT v.digest FROM unnest($1::bytea[]) AS v (digest)
WHERE NOT EXISTS (SELECT FROM {s}.vals k WHERE k.digest = v.digest)

-- name: commit
SELECT j.record FROM {s}.executions e JOIN {s}.journal j ON j.execution = e.id AND j.last = $2 WHERE e.execution_id = $1

-- name: standing
-- What stands under a name, if anything, and whether the one that an owner had under it ($2: its birth) was removed.
SELECT EXISTS (SELECT FROM {s}.removed WHERE born = $2), e.epoch, e.token, e.seq, e.born
FROM (SELECT) one LEFT JOIN {s}.executions e ON e.execution_id = $1

-- name: read
-- A page, and where the journal ends: one snapshot.
SELECT e.id, greatest(e.seq, e.head), j.last, j.completed, j.record
FROM {s}.executions e
LEFT JOIN LATERAL (
    SELECT last, completed, record FROM {s}.journal WHERE execution = e.id AND last > $2 ORDER BY last LIMIT $3
) j ON true
WHERE e.execution_id = $1
ORDER BY j.last

-- name: read_back
SELECT e.id, greatest(e.seq, e.head), j.last, j.completed, j.record
FROM {s}.executions e
LEFT JOIN LATERAL (
    SELECT last, completed, record FROM {s}.journal WHERE execution = e.id AND last < $2 ORDER BY last DESC LIMIT $3
) j ON true
WHERE e.execution_id = $1
ORDER BY j.last DESC

-- name: acquire
UPDATE {s}.executions
SET epoch = epoch + 1, owner = $2, token = $3, lease_until = clock_timestamp() + make_interval(secs => $4),
    cancel_by = NULL, paused_by = NULL
WHERE execution_id = $1 AND ($5 OR token IS NULL OR lease_until <= clock_timestamp())
RETURNING epoch, seq, born

-- name: owner
SELECT epoch, owner, token, extract(epoch FROM lease_until - clock_timestamp())::float8, seq, born
FROM {s}.executions WHERE execution_id = $1

-- name: renew
-- After its end (token NULL) a lease is still nobody else's: a keeper that comes late must not cry loss.
UPDATE {s}.executions SET lease_until = clock_timestamp() + make_interval(secs => $4)
WHERE execution_id = $1 AND epoch = $2 AND (token IS NULL OR token = $3)
RETURNING 1

-- name: requests
SELECT cancel_by, paused_by, mail FROM {s}.executions
WHERE execution_id = $1 AND epoch = $2 AND (token IS NULL OR token = $3)

-- name: tend
-- Renew what is due, and tell what was asked of each that still is its owner's.
WITH asked AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::boolean[]) AS a (execution_id, epoch, token, due)
), renewed AS (
    UPDATE {s}.executions e SET lease_until = clock_timestamp() + make_interval(secs => $5)
    FROM asked a
    WHERE a.due AND e.execution_id = a.execution_id AND e.epoch = a.epoch AND (e.token IS NULL OR e.token = a.token)
    RETURNING a.token
)
SELECT a.token, e.cancel_by, e.paused_by, e.mail
FROM asked a JOIN {s}.executions e
    ON e.execution_id = a.execution_id AND e.epoch = a.epoch AND (e.token IS NULL OR e.token = a.token)
WHERE NOT a.due OR a.token IN (SELECT token FROM renewed)

-- name: release
UPDATE {s}.executions SET owner = NULL, token = NULL WHERE execution_id = $1 AND token = $2

-- name: let_go
-- A handle is closed: what it owns is as after its process's death.
UPDATE {s}.executions SET lease_until = to_timestamp(0) WHERE token = ANY ($1::text[]) AND execution_id = ANY ($2::text[])

-- name: request_cancel
UPDATE {s}.executions SET cancel_by = $2 WHERE execution_id = $1 RETURNING 1

-- name: request_pause
UPDATE {s}.executions SET paused_by = $2 WHERE execution_id = $1 RETURNING 1

-- name: enqueue
WITH me AS (SELECT FROM {s}.executions WHERE execution_id = $1), done AS (
    UPDATE {s}.executions SET queue = $2, priority = $3, waiting = true, paused_by = NULL, cancel_by = NULL
    WHERE execution_id = $1 AND status <> 'completed'
)
SELECT 1 FROM me

-- name: set_queue
INSERT INTO {s}.queues VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET "limit" = excluded."limit", paused_by = excluded.paused_by

-- name: lock_queues
-- Takers of a queue with a limit go one after the other, for its owned executions must be counted.
SELECT name FROM {s}.queues WHERE name = ANY ($1::text[]) AND "limit" IS NOT NULL ORDER BY name FOR UPDATE

-- name: takable
-- Whether `take` may find anything: the usual answer is no, and locks nothing.
SELECT EXISTS (
    SELECT FROM {s}.executions e LEFT JOIN {s}.queues q ON q.name = e.queue
    WHERE e.waiting AND e.status <> 'waiting' AND e.queue = ANY ($1::text[]) AND e.paused_by IS NULL
      AND q.paused_by IS NULL AND (e.token IS NULL OR e.lease_until <= clock_timestamp())
) OR EXISTS (
    SELECT FROM {s}.executions e LEFT JOIN {s}.queues q ON q.name = e.queue
    WHERE e.status = 'waiting' AND e.due <= $3 AND e.paused_by IS NULL AND e.execution_id IS NOT NULL
      AND CASE WHEN e.waiting THEN e.queue = ANY ($1::text[]) AND q.paused_by IS NULL ELSE $2 END
      AND (e.token IS NULL OR e.lease_until <= clock_timestamp())
) OR ($2 AND EXISTS (
    SELECT FROM {s}.executions e
    WHERE NOT e.waiting AND e.status = 'running' AND e.paused_by IS NULL AND e.execution_id IS NOT NULL
      AND (e.token IS NULL OR e.lease_until <= clock_timestamp())
))

-- name: take
-- A cancel that nobody has answered stands. A row of `free` for each queue that may give something, and how much. What others are just taking is passed over.
WITH free AS (
    SELECT w.name, CASE WHEN q."limit" IS NULL THEN $3 ELSE least($3, q."limit" - (
        SELECT count(*) FROM {s}.executions e
        WHERE e.queue = w.name AND e.token IS NOT NULL AND e.lease_until > clock_timestamp())) END AS room
    FROM (SELECT DISTINCT unnest($1::text[]) AS name) w LEFT JOIN {s}.queues q ON q.name = w.name
    WHERE q.paused_by IS NULL
), found AS (
    SELECT c.id, c.priority, free.name, free.room FROM free CROSS JOIN LATERAL (
        SELECT e.id, e.priority FROM {s}.executions e
        WHERE e.waiting AND e.status <> 'waiting' AND e.queue = free.name AND e.paused_by IS NULL
          AND (e.token IS NULL OR e.lease_until <= clock_timestamp())
        ORDER BY e.priority DESC, e.id LIMIT greatest(free.room, 0) FOR UPDATE SKIP LOCKED) c
), due AS (
    SELECT c.id, c.priority, free.name, free.room FROM free CROSS JOIN LATERAL (
        SELECT e.id, e.priority FROM {s}.executions e
        WHERE e.waiting AND e.status = 'waiting' AND e.due <= $7 AND e.queue = free.name AND e.paused_by IS NULL
          AND (e.token IS NULL OR e.lease_until <= clock_timestamp())
        ORDER BY e.priority DESC, e.id LIMIT greatest(free.room, 0) FOR UPDATE SKIP LOCKED) c
), queued AS (
    SELECT id, priority, room, row_number() OVER (PARTITION BY name ORDER BY priority DESC, id) AS nth
    FROM (SELECT * FROM found UNION ALL SELECT * FROM due) b
), left_over AS (
    SELECT e.id FROM {s}.executions e
    WHERE $5 AND NOT e.waiting AND (e.status = 'running' OR (e.status = 'waiting' AND e.due <= $7))
      AND e.paused_by IS NULL AND e.execution_id IS NOT NULL AND (e.token IS NULL OR e.lease_until <= clock_timestamp())
    ORDER BY e.id LIMIT $3 FOR UPDATE SKIP LOCKED
), chosen AS (
    SELECT id, row_number() OVER (ORDER BY last, priority DESC, id) AS place FROM (
        SELECT id, priority, 0 AS last FROM queued WHERE nth <= room UNION ALL SELECT id, 0, 1 FROM left_over) a
    ORDER BY last, priority DESC, id LIMIT $3
)
UPDATE {s}.executions e
SET epoch = e.epoch + 1, owner = $2, token = ($4::text[])[chosen.place],
    lease_until = clock_timestamp() + make_interval(secs => $6)
FROM chosen WHERE e.id = chosen.id
RETURNING e.execution_id, e.epoch, e.token, e.seq, e.born, chosen.place

-- name: taken
SELECT execution_id, epoch, token, seq, born, 0 FROM {s}.executions WHERE token = ANY ($1::text[])

-- name: queues
SELECT coalesce(q.name, e.queue), q."limit", q.paused_by, coalesce(e.waiting, 0), coalesce(e.owned, 0)
FROM {s}.queues q FULL JOIN (
    SELECT queue, count(*) AS of_all,
           count(*) FILTER (WHERE waiting AND (token IS NULL OR lease_until <= clock_timestamp())) AS waiting,
           count(*) FILTER (WHERE token IS NOT NULL AND lease_until > clock_timestamp()) AS owned
    FROM {s}.executions
    WHERE queue IS NOT NULL AND (waiting OR (token IS NOT NULL AND lease_until > clock_timestamp()))
    GROUP BY queue
) e ON e.queue = q.name
WHERE e.queue IS NOT NULL OR q."limit" IS NOT NULL OR q.paused_by IS NOT NULL
ORDER BY 1

-- name: send
-- Whoever changes the mail of an execution holds its row: so an owner who ends meanwhile sees it, and what comes first
-- has the lower number.
WITH me AS (
    UPDATE {s}.executions SET mail = true, due = CASE WHEN status = 'waiting' THEN 0 ELSE due END
    WHERE execution_id = $1
    RETURNING id
), sent AS (
    INSERT INTO {s}.signals (execution, id, record) SELECT id, $2, $3 FROM me ON CONFLICT DO NOTHING
)
SELECT 1 FROM me

-- name: signals
SELECT m.number, m.id, m.record
FROM {s}.executions e LEFT JOIN LATERAL (
    SELECT number, id, record FROM {s}.signals WHERE execution = e.id AND number > $2 ORDER BY number LIMIT $3
) m ON true
WHERE e.execution_id = $1
ORDER BY m.number

-- name: owned
SELECT id FROM {s}.executions WHERE execution_id = $1 AND epoch = $2 AND (token IS NULL OR token = $3)
FOR NO KEY UPDATE

-- name: delivered
DELETE FROM {s}.signals WHERE execution = $1 AND id = ANY ($2::text[])

-- name: mail_left
UPDATE {s}.executions SET mail = EXISTS (SELECT FROM {s}.signals WHERE execution = $1) WHERE id = $1

-- name: value
SELECT record FROM {s}.vals WHERE digest = $1

-- name: remember
-- Of an execution that is removed just now, the entry goes with what is left of it.
INSERT INTO {s}.cache AS c (execution, fingerprint, at, record)
SELECT id, $2, $3, $4 FROM {s}.executions WHERE execution_id = $1
ON CONFLICT (execution, fingerprint) DO UPDATE SET at = excluded.at, record = excluded.record WHERE excluded.at >= c.at

-- name: recall
SELECT c.at, c.record FROM {s}.cache c JOIN {s}.executions e ON e.id = c.execution
WHERE c.fingerprint = $1 AND e.execution_id IS NOT NULL
ORDER BY c.at DESC, c.execution DESC LIMIT 1

-- name: summary
SELECT execution_id, pipeline_id, status, completed, total, seq, created_at, updated_at, epoch, owner, token,
       extract(epoch FROM lease_until - clock_timestamp())::float8, queue, priority, waiting, paused_by, due,
       id
FROM {s}.executions WHERE execution_id = $1

-- name: summaries
SELECT execution_id, pipeline_id, status, completed, total, seq, created_at, updated_at, epoch, owner, token,
       extract(epoch FROM lease_until - clock_timestamp())::float8, queue, priority, waiting, paused_by, due,
       id
FROM {s}.executions
WHERE execution_id IS NOT NULL AND ($2::text IS NULL OR status = $2)
  AND (created_at, id) < ($3::float8, $4::bigint)
ORDER BY created_at DESC, id DESC LIMIT $1

-- name: summaries_of
SELECT execution_id, pipeline_id, status, completed, total, seq, created_at, updated_at, epoch, owner, token,
       extract(epoch FROM lease_until - clock_timestamp())::float8, queue, priority, waiting, paused_by, due,
       id
FROM {s}.executions
WHERE pipeline_id = $5 AND execution_id IS NOT NULL AND ($2::text IS NULL OR status = $2)
  AND (created_at, id) < ($3::float8, $4::bigint)
ORDER BY created_at DESC, id DESC LIMIT $1

-- name: hidden
SELECT h.seq FROM {s}.executions e LEFT JOIN {s}.hidden h ON h.execution = e.id WHERE e.execution_id = $1

-- name: hide
WITH me AS (SELECT id FROM {s}.executions WHERE execution_id = $1), done AS (
    INSERT INTO {s}.hidden SELECT id, $2 FROM me ON CONFLICT DO NOTHING
)
SELECT 1 FROM me

-- name: strike
-- The execution is gone from here on; what is left of it has no name, and is deleted piece by piece.
-- For a day an owner that comes back late learns that somebody removed it, and not that it was lost.
WITH me AS (
    UPDATE {s}.executions
    SET execution_id = NULL, owner = NULL, token = NULL, queue = NULL, waiting = false
    WHERE execution_id = $1 AND (token IS NULL OR lease_until <= clock_timestamp()) AND ($2 OR NOT mail)
    RETURNING id, born
), forgotten AS (
    DELETE FROM {s}.removed WHERE at < clock_timestamp() - interval '1 day'
), kept AS (
    INSERT INTO {s}.removed SELECT born, clock_timestamp() FROM me
)
SELECT id FROM me

-- name: struck
SELECT id FROM {s}.executions WHERE execution_id IS NULL LIMIT 100

-- name: delete_journal
DELETE FROM {s}.journal WHERE execution = $1 AND last IN (
    SELECT last FROM {s}.journal WHERE execution = $1 ORDER BY last LIMIT $2)
RETURNING 1

-- name: delete_refs
DELETE FROM {s}.refs WHERE execution = $1 AND digest IN (
    SELECT digest FROM {s}.refs WHERE execution = $1 LIMIT $2)
RETURNING 1

-- name: delete_cache
DELETE FROM {s}.cache WHERE execution = $1 AND fingerprint IN (
    SELECT fingerprint FROM {s}.cache WHERE execution = $1 LIMIT $2)
RETURNING 1

-- name: delete_signals
DELETE FROM {s}.signals WHERE execution = $1 AND number IN (
    SELECT number FROM {s}.signals WHERE execution = $1 LIMIT $2)
RETURNING 1

-- name: delete_execution
WITH gone AS (DELETE FROM {s}.hidden WHERE execution = $1)
DELETE FROM {s}.executions WHERE id = $1 AND execution_id IS NULL

-- name: delete_values
-- Whoever commits a reference just now holds the value's row: it is passed over. Whoever did since this statement
-- began makes it fail, by the foreign key, and it is tried again.
DELETE FROM {s}.vals WHERE digest IN (
    SELECT v.digest FROM {s}.vals v WHERE NOT EXISTS (SELECT FROM {s}.refs r WHERE r.digest = v.digest)
    LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING 1

-- name: known_values
SELECT digest FROM {s}.vals WHERE record IS NULL AND digest = ANY ($1::bytea[])

-- name: outside_values
SELECT digest FROM {s}.vals WHERE record IS NULL AND digest > $1 ORDER BY digest LIMIT $2

-- name: short_journals
SELECT e.execution_id, e.seq, (SELECT max(last) FROM {s}.journal j WHERE j.execution = e.id)
FROM {s}.executions e
WHERE e.execution_id IS NOT NULL
  AND e.seq IS DISTINCT FROM (SELECT max(last) FROM {s}.journal j WHERE j.execution = e.id)
LIMIT 1000

-- name: names
SELECT id, execution_id FROM {s}.executions WHERE execution_id IS NOT NULL AND id > $1 ORDER BY id LIMIT $2

-- name: refs_of
SELECT digest FROM {s}.refs WHERE execution = $1

-- name: orphans
SELECT (SELECT count(*) FROM {s}.journal j WHERE NOT EXISTS (SELECT FROM {s}.executions e WHERE e.id = j.execution)),
       (SELECT count(*) FROM {s}.refs r WHERE NOT EXISTS (SELECT FROM {s}.executions e WHERE e.id = r.execution)),
       CASE WHEN EXISTS (SELECT FROM {s}.executions WHERE execution_id IS NULL) THEN 0 ELSE
           (SELECT count(*) FROM {s}.vals v WHERE NOT EXISTS (SELECT FROM {s}.refs r WHERE r.digest = v.digest)) END

-- name: sizes
-- No record is read: its length is in its row.
SELECT e.execution_id,
       ((SELECT coalesce(sum(octet_length(record)), 0) FROM {s}.journal WHERE execution = e.id)
        + (SELECT coalesce(sum(octet_length(v.record)), 0) FROM {s}.refs r JOIN {s}.vals v ON v.digest = r.digest
           WHERE r.execution = e.id))::bigint
FROM {s}.executions e WHERE e.execution_id = ANY ($1::text[])

-- name: outside_of
SELECT e.execution_id, r.digest
FROM {s}.executions e JOIN {s}.refs r ON r.execution = e.id JOIN {s}.vals v ON v.digest = r.digest
WHERE e.execution_id = ANY ($1::text[]) AND v.record IS NULL

-- name: turn
-- One collects at a time. The mark ends by itself: whoever set it may have died.
INSERT INTO {s}.meta VALUES ('collecting', (extract(epoch FROM clock_timestamp()) + $2::float8)::text || ' ' || $1::text)
ON CONFLICT (key) DO UPDATE SET value = excluded.value
WHERE split_part(meta.value, ' ', 1)::float8 < extract(epoch FROM clock_timestamp())
   OR split_part(meta.value, ' ', 2) = $1::text
RETURNING 1

-- name: turn_over
DELETE FROM {s}.meta WHERE key = 'collecting' AND split_part(value, ' ', 2) = $1

-- name: probe
UPDATE {s}.meta SET value = value WHERE key = 'uuid'

-- name: statistics
SELECT (SELECT coalesce(json_object_agg(status, n), '{{}}') FROM (
           SELECT status, count(*) AS n FROM {s}.executions WHERE execution_id IS NOT NULL GROUP BY status) s)::text,
       (SELECT count(*) FROM {s}.journal),
       (SELECT count(record) FROM {s}.vals),
       (SELECT count(*) - count(record) FROM {s}.vals),
       (SELECT count(*) FROM {s}.cache),
       (SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r')
