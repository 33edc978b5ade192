//! What SQLite and sqlx say, told apart.

use std::path::Path;

use sqlx::migrate::MigrateError;

use super::MIGRATIONS;
use crate::store::StoreError;

/// What a migration's failure means.
pub(super) fn migration_error(file: &Path, error: MigrateError) -> StoreError {
    let known = MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0);
    let file_name = file.to_owned();
    match error {
        MigrateError::VersionMissing(found) => StoreError::NewerSchema {
            file: file_name,
            found,
            known,
        },
        MigrateError::VersionMismatch(version) => StoreError::AlteredSchema {
            file: file_name,
            version,
        },
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            database_error(file, &error)
        }
        other => StoreError::Other {
            file: file_name,
            message: other.to_string(),
        },
    }
}

/// SQLite's primary result code is the low byte of the extended one (<https://sqlite.org/rescode.html>).
pub(super) fn database_error(file: &Path, error: &sqlx::Error) -> StoreError {
    let code = error
        .as_database_error()
        .and_then(|error| error.code())
        .and_then(|code| code.parse::<u32>().ok())
        .map(|extended| extended & 0xff);
    let file = file.to_owned();
    match code {
        Some(SQLITE_BUSY | SQLITE_LOCKED) => StoreError::Locked { file },
        Some(SQLITE_FULL) => StoreError::Full { file },
        Some(SQLITE_NOTADB | SQLITE_CORRUPT) => StoreError::NotADatabase { file },
        Some(SQLITE_READONLY) => StoreError::ReadOnly { file },
        _ => StoreError::Other {
            file,
            message: error.to_string(),
        },
    }
}

const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_READONLY: u32 = 8;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_FULL: u32 = 13;
const SQLITE_NOTADB: u32 = 26;
