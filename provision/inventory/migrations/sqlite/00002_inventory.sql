-- Credentials apart from the devices and sealed, certificates, jobs and
-- verifications. The devices of schema 1 wait in devices_1, from where the next
-- step, which is in Go because it seals tokens, takes them.
--
-- Times are milliseconds since 1970-01-01 UTC; 0 is none. The tables and columns
-- are those of the PostgreSQL inventory.

-- +goose Up
ALTER TABLE devices RENAME TO devices_1;

CREATE TABLE devices (
    name           TEXT    NOT NULL PRIMARY KEY,
    directory      TEXT    NOT NULL UNIQUE,
    label          TEXT    NOT NULL,
    profile        TEXT    NOT NULL,
    extra          TEXT    NOT NULL, -- JSON; '' is none
    registrar      TEXT    NOT NULL,
    thingsboard_id TEXT    NOT NULL,
    state          TEXT    NOT NULL,
    credential     TEXT    NOT NULL, -- its kind
    version        INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    replaced_at    INTEGER NOT NULL
) STRICT;

CREATE TABLE credentials (
    device     TEXT    NOT NULL,
    role       TEXT    NOT NULL, -- current, next
    kind       TEXT    NOT NULL,
    sealed     BLOB    NOT NULL, -- empty where the kind is all that is known
    digest     INTEGER NOT NULL, -- of the credential's id, keyed; 0 is none
    created_at INTEGER NOT NULL,
    PRIMARY KEY (device, role)
) STRICT;
CREATE INDEX credentials_by_digest ON credentials (digest);

CREATE TABLE certificates (
    fingerprint TEXT    NOT NULL PRIMARY KEY, -- "sha256:" and hex
    serial      TEXT    NOT NULL,             -- hex
    device      TEXT    NOT NULL,
    issuer      TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    issued_at   INTEGER NOT NULL,
    revoked_at  INTEGER NOT NULL,
    reason      INTEGER NOT NULL -- RFC 5280, 5.3.1
) STRICT;
CREATE INDEX certificates_by_device ON certificates (device);
CREATE INDEX certificates_revoked ON certificates (fingerprint) WHERE revoked_at > 0;

CREATE TABLE jobs (
    id          TEXT    NOT NULL PRIMARY KEY,
    kind        TEXT    NOT NULL,
    registrar   TEXT    NOT NULL,
    digest      TEXT    NOT NULL, -- of the rows, in hex; '' is none
    host        TEXT    NOT NULL,
    total       INTEGER NOT NULL,
    done        INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    state       TEXT    NOT NULL, -- running, done, interrupted, failed
    started_at  INTEGER NOT NULL,
    finished_at INTEGER NOT NULL
) STRICT;
CREATE INDEX jobs_by_start ON jobs (started_at);

CREATE TABLE job_rows (
    job         TEXT    NOT NULL,
    seq         INTEGER NOT NULL,
    sealed      BLOB    NOT NULL,
    state       TEXT    NOT NULL, -- open, done, failed
    owner       TEXT    NOT NULL,
    lease_until INTEGER NOT NULL,
    error       TEXT    NOT NULL,
    PRIMARY KEY (job, seq)
) STRICT;
CREATE INDEX job_rows_open ON job_rows (job, seq) WHERE state = 'open';

CREATE TABLE verifications (
    device       TEXT    NOT NULL,
    at           INTEGER NOT NULL,
    ok           INTEGER NOT NULL,
    exit_code    INTEGER NOT NULL,
    failed_check TEXT    NOT NULL,
    cause        TEXT    NOT NULL,
    milliseconds INTEGER NOT NULL,
    how          TEXT    NOT NULL,
    PRIMARY KEY (device, at)
) STRICT;

CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
