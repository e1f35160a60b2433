-- Devices, their credentials, certificates, jobs and verifications: the tables
-- and columns of the SQLite inventory, whose third schema this is. Text sorts by
-- its bytes there and so here.
--
-- Times are milliseconds since 1970-01-01 UTC; 0 is none.

-- +goose Up
CREATE TABLE devices (
    name           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    directory      TEXT COLLATE "C" NOT NULL UNIQUE,
    label          TEXT COLLATE "C" NOT NULL,
    profile        TEXT COLLATE "C" NOT NULL,
    extra          TEXT COLLATE "C" NOT NULL, -- JSON; '' is none
    registrar      TEXT COLLATE "C" NOT NULL,
    thingsboard_id TEXT COLLATE "C" NOT NULL,
    state          TEXT COLLATE "C" NOT NULL,
    credential     TEXT COLLATE "C" NOT NULL, -- its kind
    version        BIGINT           NOT NULL,
    created_at     BIGINT           NOT NULL,
    updated_at     BIGINT           NOT NULL,
    replaced_at    BIGINT           NOT NULL
);

CREATE TABLE credentials (
    device         TEXT COLLATE "C" NOT NULL,
    role           TEXT COLLATE "C" NOT NULL, -- current, next
    kind           TEXT COLLATE "C" NOT NULL,
    sealed         BYTEA            NOT NULL, -- empty where the kind is all that is known
    digest         BIGINT           NOT NULL, -- of the credential's id, keyed; 0 is none
    created_at     BIGINT           NOT NULL,
    PRIMARY KEY (device, role)
);
CREATE INDEX credentials_by_digest ON credentials (digest);

CREATE TABLE certificates (
    fingerprint    TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- "sha256:" and hex
    serial         TEXT COLLATE "C" NOT NULL, -- hex
    device         TEXT COLLATE "C" NOT NULL,
    issuer         TEXT COLLATE "C" NOT NULL,
    subject        TEXT COLLATE "C" NOT NULL,
    not_before     BIGINT           NOT NULL,
    not_after      BIGINT           NOT NULL,
    issued_at      BIGINT           NOT NULL,
    revoked_at     BIGINT           NOT NULL,
    reason         BIGINT           NOT NULL -- RFC 5280, 5.3.1
);
CREATE INDEX certificates_by_device ON certificates (device);
CREATE INDEX certificates_revoked ON certificates (fingerprint) WHERE revoked_at > 0;

CREATE TABLE jobs (
    id             TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    kind           TEXT COLLATE "C" NOT NULL,
    registrar      TEXT COLLATE "C" NOT NULL,
    digest         TEXT COLLATE "C" NOT NULL, -- of the rows, in hex; '' is none
    host           TEXT COLLATE "C" NOT NULL,
    total          BIGINT           NOT NULL,
    done           BIGINT           NOT NULL,
    failed         BIGINT           NOT NULL,
    state          TEXT COLLATE "C" NOT NULL, -- running, done, interrupted, failed
    started_at     BIGINT           NOT NULL,
    finished_at    BIGINT           NOT NULL
);
CREATE INDEX jobs_by_start ON jobs (started_at);

CREATE TABLE job_rows (
    job            TEXT COLLATE "C" NOT NULL,
    seq            BIGINT           NOT NULL,
    sealed         BYTEA            NOT NULL,
    state          TEXT COLLATE "C" NOT NULL, -- open, done, failed
    owner          TEXT COLLATE "C" NOT NULL,
    lease_until    BIGINT           NOT NULL,
    error          TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (job, seq)
);
CREATE INDEX job_rows_open ON job_rows (job, seq) WHERE state = 'open';

CREATE TABLE verifications (
    device         TEXT COLLATE "C" NOT NULL,
    at             BIGINT           NOT NULL,
    ok             BIGINT           NOT NULL,
    exit_code      BIGINT           NOT NULL,
    failed_check   TEXT COLLATE "C" NOT NULL,
    cause          TEXT COLLATE "C" NOT NULL,
    milliseconds   BIGINT           NOT NULL,
    how            TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (device, at)
);

CREATE TABLE meta (
    key            TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value          TEXT COLLATE "C" NOT NULL
);
