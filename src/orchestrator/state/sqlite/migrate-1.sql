-- From format 1 to format 2: executions may wait in queues.
ALTER TABLE executions ADD COLUMN queue TEXT;
ALTER TABLE executions ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN paused_by TEXT;
CREATE INDEX executions_waiting ON executions (queue, priority DESC, id) WHERE waiting = 1;
CREATE TABLE queues (
    name      TEXT PRIMARY KEY,
    "limit"   INTEGER,
    paused_by TEXT
) STRICT, WITHOUT ROWID;
