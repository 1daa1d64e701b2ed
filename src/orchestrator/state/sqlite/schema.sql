-- Format 4. `position` is execution * 2^32 + seq of the commit's last fact: one integer key keeps an execution's
-- commits side by side, and its uniqueness is what decides between two writers.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE executions (
    id           INTEGER PRIMARY KEY,
    execution_id TEXT    NOT NULL UNIQUE,
    pipeline_id  TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    total        INTEGER NOT NULL,
    head         INTEGER NOT NULL,   -- seq of the last commit that changed the list: the journal is no shorter
    created_at   REAL    NOT NULL,
    epoch        INTEGER NOT NULL,
    owner        TEXT,               -- for people; NULL when nobody owns it
    token        TEXT,               -- identifies the owner
    locked       INTEGER NOT NULL,   -- 1 when the owner also holds the lock file
    lease_until  REAL    NOT NULL,   -- on the host's boot clock
    cancel_by    TEXT,
    queue        TEXT,               -- where it waits for a server; NULL when it was given no place
    priority     INTEGER NOT NULL DEFAULT 0,
    waiting      INTEGER NOT NULL DEFAULT 0, -- 1 when it is to be taken whenever nobody owns it
    paused_by    TEXT,
    due          REAL                -- of a status 'waiting': when it goes on, in seconds since 1970; 0 when there is mail
) STRICT;

CREATE INDEX executions_by_pipeline ON executions (pipeline_id);

-- What a server looks through for work: what is free, what is owned, what was left behind outside of all queues, what
-- is free once its time has come.
CREATE INDEX executions_free ON executions (queue, priority DESC, id)
    WHERE waiting = 1 AND token IS NULL AND status <> 'waiting';
CREATE INDEX executions_owned ON executions (queue, priority DESC, id) WHERE token IS NOT NULL;
CREATE INDEX executions_left ON executions (id) WHERE status = 'running' AND waiting = 0 AND token IS NULL;
CREATE INDEX executions_due ON executions (due) WHERE status = 'waiting' AND token IS NULL;

-- What holds for a queue, over all servers.
CREATE TABLE queues (
    name      TEXT PRIMARY KEY,
    "limit"   INTEGER,
    paused_by TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE journal (
    position  INTEGER PRIMARY KEY,
    at        REAL    NOT NULL,
    completed INTEGER NOT NULL,
    record    BLOB    NOT NULL
) STRICT;

-- Values too large for the journal and too small for a file of their own, by digest.
CREATE TABLE vals (
    digest BLOB PRIMARY KEY,
    record BLOB NOT NULL
) STRICT;

-- Which execution needs which value, inside or outside of `vals`: what the collection of garbage goes by.
CREATE TABLE refs (
    execution INTEGER NOT NULL,
    digest    BLOB    NOT NULL,
    PRIMARY KEY (execution, digest)
) STRICT, WITHOUT ROWID;

CREATE INDEX refs_by_digest ON refs (digest);

-- Results that other executions may take for their own. The reference is what lets no entry outlive its execution.
CREATE TABLE cache (
    execution   INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
    fingerprint BLOB    NOT NULL,
    at          REAL    NOT NULL,
    record      BLOB    NOT NULL,
    PRIMARY KEY (execution, fingerprint)
) STRICT, WITHOUT ROWID;

CREATE INDEX cache_by_fingerprint ON cache (fingerprint, at);

-- What was sent to executions and not recorded in their journals yet, in order of `number`.
CREATE TABLE signals (
    number    INTEGER PRIMARY KEY,
    execution INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
    id        TEXT    NOT NULL,
    record    BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX signals_by_id ON signals (execution, id);
CREATE INDEX signals_in_order ON signals (execution, number);

CREATE TABLE hidden (
    execution INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    PRIMARY KEY (execution, seq)
) STRICT, WITHOUT ROWID;
