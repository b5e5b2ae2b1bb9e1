"""The tables of the SQLite store. `entries` is the truth; the rest follows from it, but for people,
secrets and state, which are outside the log because they may have to be forgotten.
"""

from __future__ import annotations

SCHEMA = 1  # of both stores; raised when an older version could not read the tables

TABLES = """
CREATE TABLE IF NOT EXISTS meta (
    name TEXT PRIMARY KEY, value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (
    epoch INTEGER PRIMARY KEY, hash TEXT NOT NULL, digest TEXT NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS documents (
    family TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, source TEXT NOT NULL,
    epoch INTEGER NOT NULL, fact TEXT, body BLOB NOT NULL,
    PRIMARY KEY (family, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS documents_with_fact ON documents (family, name, fact)
    WHERE fact IS NOT NULL;
CREATE TABLE IF NOT EXISTS tombstones (
    family TEXT NOT NULL, name TEXT NOT NULL, epoch INTEGER NOT NULL,
    PRIMARY KEY (family, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rows (
    row TEXT NOT NULL, since INTEGER NOT NULL, until INTEGER,
    PRIMARY KEY (row, since)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mentions (
    token TEXT NOT NULL, family TEXT NOT NULL, name TEXT NOT NULL,
    PRIMARY KEY (token, family, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS assertions (
    row TEXT NOT NULL, family TEXT NOT NULL, name TEXT NOT NULL,
    PRIMARY KEY (row, family, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS people (
    id TEXT PRIMARY KEY, email TEXT NOT NULL, folded TEXT UNIQUE, display_name TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS secrets (
    id TEXT PRIMARY KEY, family TEXT NOT NULL, name TEXT NOT NULL, field TEXT NOT NULL,
    blob BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (
    space TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, until REAL NOT NULL,
    PRIMARY KEY (space, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS state_until ON state (until);
"""
