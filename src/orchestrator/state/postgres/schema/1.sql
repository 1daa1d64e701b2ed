-- Format 1. Names are text by the rule of names.py: whatever stands in an id, NUL included, is data.
CREATE TABLE {s}.executions (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    execution_id text COLLATE "C" UNIQUE,   -- NULL once it is removed; what is left of it is being deleted
    born         text NOT NULL,             -- token of the call that admitted it
    pipeline_id  text COLLATE "C" NOT NULL,
    status       text NOT NULL,
    total        bigint NOT NULL,
    seq          bigint NOT NULL,           -- of the last fact: what an append has to expect
    head         bigint NOT NULL,           -- the seq that a journal under way from elsewhere has to reach
    completed    bigint NOT NULL,
    created_at   double precision NOT NULL,
    updated_at   double precision NOT NULL,
    epoch        bigint NOT NULL,
    owner        text,                      -- for people
    token        text,                      -- identifies the owner; NULL when nobody owns it
    lease_until  timestamptz NOT NULL,      -- by this server's clock
    cancel_by    text,
    paused_by    text,
    queue        text COLLATE "C",          -- where it waits for a server; NULL when it was given no place
    priority     bigint NOT NULL DEFAULT 0,
    waiting      boolean NOT NULL DEFAULT false -- to be taken whenever nobody owns it
) WITH (fillfactor = 50);                   -- each commit rewrites the row: room for that on its page

CREATE INDEX executions_by_time ON {s}.executions (created_at DESC, id DESC);
CREATE INDEX executions_by_pipeline ON {s}.executions (pipeline_id, created_at DESC, id DESC);
CREATE INDEX executions_waiting ON {s}.executions (queue, priority DESC, id) WHERE waiting;
CREATE INDEX executions_running ON {s}.executions (id) WHERE status = 'running';

-- A commit: the facts that end at seq `last`. Its key is what decides between two writers.
CREATE TABLE {s}.journal (
    execution bigint NOT NULL,
    last      bigint NOT NULL,
    at        double precision NOT NULL,
    completed bigint NOT NULL,
    record    bytea NOT NULL,
    PRIMARY KEY (execution, last)
);
ALTER TABLE {s}.journal ALTER COLUMN record SET STORAGE EXTERNAL; -- compressed already, where that pays

-- Values too large for the journal, by digest; record is NULL where the value lies outside of the database.
CREATE TABLE {s}.vals (
    digest bytea PRIMARY KEY,
    record bytea
);
ALTER TABLE {s}.vals ALTER COLUMN record SET STORAGE EXTERNAL;

-- Which execution needs which value. The key is what keeps a value from being deleted under a commit that refers to it.
CREATE TABLE {s}.refs (
    execution bigint NOT NULL,
    digest    bytea NOT NULL REFERENCES {s}.vals,
    PRIMARY KEY (execution, digest)
);
CREATE INDEX refs_by_digest ON {s}.refs (digest);

CREATE TABLE {s}.hidden (
    execution bigint NOT NULL,
    seq       bigint NOT NULL,
    PRIMARY KEY (execution, seq)
);

-- What holds for a queue, over all servers.
CREATE TABLE {s}.queues (
    name      text COLLATE "C" PRIMARY KEY,
    "limit"   bigint,
    paused_by text
);

-- Which executions were removed during the last day, by their birth.
CREATE TABLE {s}.removed (
    born text PRIMARY KEY,
    at   timestamptz NOT NULL
);
