-- From format 1 to format 2: executions may wait in queues.
ALTER TABLE executions ADD COLUMN queue TEXT;
ALTER TABLE executions ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN paused_by TEXT;
CREATE INDEX executions_free ON executions (queue, priority DESC, id) WHERE waiting = 1 AND token IS NULL;
CREATE INDEX executions_owned ON executions (queue, priority DESC, id) WHERE token IS NOT NULL;
CREATE INDEX executions_left ON executions (id) WHERE status = 'running' AND waiting = 0 AND token IS NULL;
CREATE TABLE queues (
    name      TEXT PRIMARY KEY,
    "limit"   INTEGER,
    paused_by TEXT
) STRICT, WITHOUT ROWID;
