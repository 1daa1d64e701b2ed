-- From format 3 to format 4: signals, and executions that wait for one or for a time. Also a process that knows format 3
-- only, and has the file open, removes an execution's signals with it: the reference sees to that.
ALTER TABLE executions ADD COLUMN due REAL;
DROP INDEX executions_free;
CREATE INDEX executions_free ON executions (queue, priority DESC, id)
    WHERE waiting = 1 AND token IS NULL AND status <> 'waiting';
CREATE INDEX executions_due ON executions (due) WHERE status = 'waiting' AND token IS NULL;
CREATE TABLE signals (
    number    INTEGER PRIMARY KEY,
    execution INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
    id        TEXT    NOT NULL,
    record    BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX signals_by_id ON signals (execution, id);
CREATE INDEX signals_in_order ON signals (execution, number);
