-- The devices of a site, and the credential that each has.
--
-- A token is kept only where it cannot be read back from ThingsBoard. Times are
-- milliseconds since 1970-01-01 UTC. The user version is this file's number, so
-- that a program that is up to date need not look further.

-- +goose Up
CREATE TABLE devices (
    name           TEXT    NOT NULL PRIMARY KEY,
    directory      TEXT    NOT NULL UNIQUE,
    label          TEXT    NOT NULL,
    profile        TEXT    NOT NULL,
    registrar      TEXT    NOT NULL,
    thingsboard_id TEXT    NOT NULL,
    credential     TEXT    NOT NULL,
    token          TEXT,
    state          TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL
) STRICT;
CREATE INDEX devices_by_token ON devices (token) WHERE token IS NOT NULL;
PRAGMA user_version = 1;
