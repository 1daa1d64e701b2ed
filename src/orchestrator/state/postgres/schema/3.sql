-- Format 3: signals, and executions that wait for one or for a time. What waits so is no longer among what is looked
-- through for what is free: it has an order of its own, by when it is due.
ALTER TABLE {s}.executions
    ADD COLUMN due  double precision,             -- of a status 'waiting': seconds since 1970; 0 when there is mail
    ADD COLUMN mail boolean NOT NULL DEFAULT false; -- whether there may be signals; whoever changes them holds this row

DROP INDEX IF EXISTS {s}.executions_waiting;
CREATE INDEX executions_waiting ON {s}.executions (queue, priority DESC, id) WHERE waiting AND status <> 'waiting';
CREATE INDEX executions_due ON {s}.executions (due) WHERE status = 'waiting';

-- What was sent to executions and not recorded in their journals yet, in order of `number`.
CREATE TABLE {s}.signals (
    execution bigint NOT NULL REFERENCES {s}.executions ON DELETE CASCADE,
    number    bigint GENERATED ALWAYS AS IDENTITY,
    id        text COLLATE "C" NOT NULL,
    record    bytea NOT NULL,
    PRIMARY KEY (execution, number),
    UNIQUE (execution, id)
);
ALTER TABLE {s}.signals ALTER COLUMN record SET STORAGE EXTERNAL; -- compressed already, where that pays
