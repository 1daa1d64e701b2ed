-- From format 2 to format 3: results by fingerprint, over all executions. Also a process that knows format 2 only, and has
-- the file open, removes an execution's entries with it: the reference sees to that.
CREATE TABLE cache (
    execution   INTEGER NOT NULL REFERENCES executions ON DELETE CASCADE,
    fingerprint BLOB    NOT NULL,
    at          REAL    NOT NULL,
    record      BLOB    NOT NULL,
    PRIMARY KEY (execution, fingerprint)
) STRICT, WITHOUT ROWID;
CREATE INDEX cache_by_fingerprint ON cache (fingerprint, at);
