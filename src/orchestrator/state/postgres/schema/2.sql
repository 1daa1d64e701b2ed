-- Format 2: results that other executions may take for their own. The reference is what lets no entry outlive its execution,
-- whoever removes it.
CREATE TABLE {s}.cache (
    execution   bigint NOT NULL REFERENCES {s}.executions ON DELETE CASCADE,
    fingerprint bytea NOT NULL,
    at          double precision NOT NULL,
    record      bytea NOT NULL,
    PRIMARY KEY (execution, fingerprint)
);
CREATE INDEX cache_by_fingerprint ON {s}.cache (fingerprint, at);
