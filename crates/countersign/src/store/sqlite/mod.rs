//! SQLite behind the [`Store`] trait: one file in WAL mode, one connection, one gateway.
//!
//! `synchronous = FULL` makes each commit reach the disk before it is acknowledged, so that no power cut or SIGKILL
//! loses one; writes are few (enrolments, renewals, operators), so the cost does not matter.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqliteConnection, SqlitePool};

use super::lock::Lock;
use super::{
    AgentChange, AllowedEk, Answer, BearerToken, BundleDocument, Contents, EnrolOutcome, Enrolment,
    ExceptionRecord, GrantRecord, Initial, JoinToken, Machine, Reference, Renewal, Revocation,
    SealedSecret, SecretKind, Shown, Store, StoreError,
};

mod bearer;
mod enrolment;
mod exception;
mod fault;
mod machine;
mod rows;
mod writes;

use fault::{database_error, migration_error};

/// An SQLite database that this process alone serves from.
#[derive(Debug)]
pub(crate) struct SqliteStore {
    file: PathBuf,
    pool: SqlitePool,
    _lock: Lock,
}

impl SqliteStore {
    /// Opens the database, or creates it with mode 0600, and brings its schema up to date.
    ///
    /// # Errors
    ///
    /// Each state that a database can be found in has its variant of [`StoreError`].
    pub(crate) async fn open(file: &Path) -> Result<Self, StoreError> {
        Self::open_within(file, BUSY_TIMEOUT).await
    }

    async fn open_within(file: &Path, patience: Duration) -> Result<Self, StoreError> {
        let lock = Lock::take(file)?;
        create_private(file)?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(patience);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(|error| database_error(file, &error))?;
        refuse_foreign(file, &pool).await?;
        MIGRATIONS
            .run(&pool)
            .await
            .map_err(|error| migration_error(file, error))?;
        Ok(Self {
            file: file.to_owned(),
            pool,
            _lock: lock,
        })
    }

    /// Reads the whole file and checks its structure.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotADatabase`] when it is damaged.
    pub(crate) async fn check_integrity(&self) -> Result<(), StoreError> {
        let found: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
            .fetch_one(&self.pool)
            .await
            .map_err(|error| self.error(&error))?;
        match found.as_str() {
            "ok" => Ok(()),
            _ => Err(StoreError::NotADatabase {
                file: self.file.clone(),
            }),
        }
    }

    /// Forgets the join tokens that were not used: a state that comes back must not let in who came in since.
    ///
    /// # Errors
    ///
    /// The database cannot be written.
    pub(crate) async fn void_join_tokens(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let outcome = enrolment::void_join_tokens(transaction.connection(), now).await;
        self.finish(outcome, transaction).await
    }

    /// Takes the write lock at once: a transaction that reads first and writes later could be refused half-way.
    async fn begin(&self) -> Result<Transaction, StoreError> {
        let connection = self
            .pool
            .acquire()
            .await
            .map_err(|error| self.error(&error))?;
        let mut transaction = Transaction(Some(connection));
        let begun = transaction.execute("BEGIN IMMEDIATE").await;
        begun.map_err(|error| self.error(&error))?;
        Ok(transaction)
    }

    /// Commits what worked and rolls back what did not.
    async fn finish<T>(
        &self,
        outcome: Result<T, RowError>,
        mut transaction: Transaction,
    ) -> Result<T, StoreError> {
        match outcome {
            Ok(value) => {
                let committed = transaction.execute("COMMIT").await;
                committed.map_err(|error| self.error(&error))?;
                transaction.release();
                Ok(value)
            }
            Err(RowError::Database(error)) => Err(self.error(&error)),
            Err(RowError::BadValue(place)) => Err(StoreError::BadValue {
                file: self.file.clone(),
                place,
            }),
            Err(RowError::TrustDomainSet(stored)) => Err(StoreError::TrustDomainSet {
                file: self.file.clone(),
                stored,
            }),
        }
    }

    fn error(&self, error: &sqlx::Error) -> StoreError {
        database_error(&self.file, error)
    }
}

/// A connection inside a transaction. Unless the transaction was committed, dropping it closes the connection, and SQLite
/// rolls back.
///
/// sqlx's own transactions cannot be used: when the disk is full SQLite has rolled back by itself, the `ROLLBACK` that
/// sqlx sends then fails, and the connection goes back into the pool as one that is inside a transaction for ever.
struct Transaction(Option<PoolConnection<Sqlite>>);

impl Transaction {
    fn connection(&mut self) -> &mut SqliteConnection {
        self.0
            .as_mut()
            .expect("a transaction has its connection until it is released")
    }

    async fn execute(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(statement)
            .execute(self.connection())
            .await
            .map(|_| ())
    }

    /// Gives the connection back to the pool.
    fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

/// One method of [`Store`] as one transaction.
macro_rules! transaction {
    ($store:ident, $function:path $(, $argument:expr)*) => {
        Box::pin(async move {
            let mut transaction = $store.begin().await?;
            let outcome = $function(transaction.connection() $(, $argument)*).await;
            $store.finish(outcome, transaction).await
        })
    };
}

impl Store for SqliteStore {
    fn load(&self) -> Answer<'_, Contents> {
        transaction!(self, rows::contents)
    }

    fn initialise<'a>(&'a self, first: &'a Initial) -> Answer<'a, u64> {
        transaction!(self, writes::initialise, first)
    }

    fn put_secret<'a>(&'a self, secret: &'a SealedSecret, now: Timestamp) -> Answer<'a, u64> {
        transaction!(self, writes::put_secret, secret, now)
    }

    fn remove_secret<'a>(
        &'a self,
        kind: SecretKind,
        id: &'a str,
        now: Timestamp,
    ) -> Answer<'a, u64> {
        transaction!(self, writes::remove_secret, kind, id, now)
    }

    fn publish_bundle<'a>(&'a self, bundle: &'a BundleDocument) -> Answer<'a, u64> {
        transaction!(self, writes::publish_bundle, bundle)
    }

    fn create_join<'a>(&'a self, token: &'a JoinToken) -> Answer<'a, u64> {
        transaction!(self, enrolment::create_join, token)
    }

    fn enrol<'a>(&'a self, enrolment: &'a Enrolment) -> Answer<'a, EnrolOutcome> {
        transaction!(self, enrolment::enrol, enrolment)
    }

    fn renew<'a>(&'a self, renewal: &'a Renewal) -> Answer<'a, Option<AgentChange>> {
        transaction!(self, enrolment::renew, renewal)
    }

    fn seen<'a>(
        &'a self,
        agents: &'a [(String, Timestamp)],
        clocks: &'a [(String, String)],
    ) -> Answer<'a, ()> {
        transaction!(self, writes::seen, agents, clocks)
    }

    fn revoke<'a>(
        &'a self,
        name: &'a str,
        revocation: &'a Revocation,
    ) -> Answer<'a, Option<AgentChange>> {
        transaction!(self, enrolment::revoke, name, revocation)
    }

    fn enter_guest<'a>(&'a self, machine: &'a Machine, now: Timestamp) -> Answer<'a, Option<u64>> {
        transaction!(self, machine::enter_guest, machine, now)
    }

    fn shown<'a>(&'a self, agent: &'a str, shown: &'a Shown) -> Answer<'a, ()> {
        transaction!(self, machine::shown, agent, shown)
    }

    fn expect<'a>(&'a self, agent: &'a str, reference: &'a Reference) -> Answer<'a, Option<u64>> {
        transaction!(self, machine::expect, agent, reference)
    }

    fn allow_ek<'a>(&'a self, key: &'a AllowedEk) -> Answer<'a, u64> {
        transaction!(self, machine::allow, key)
    }

    fn forbid_ek<'a>(&'a self, ek_hash: &'a str, now: Timestamp) -> Answer<'a, Option<u64>> {
        transaction!(self, machine::forbid, ek_hash, now)
    }

    fn add_grant<'a>(&'a self, grant: &'a GrantRecord) -> Answer<'a, Option<u64>> {
        transaction!(self, writes::add_grant, grant)
    }

    fn remove_grant<'a>(
        &'a self,
        principal: &'a str,
        service: &'a str,
        now: Timestamp,
    ) -> Answer<'a, Option<u64>> {
        transaction!(self, writes::remove_grant, principal, service, now)
    }

    fn issue_bearer<'a>(&'a self, token: &'a BearerToken) -> Answer<'a, u64> {
        transaction!(self, bearer::issue, token)
    }

    fn revoke_bearer<'a>(
        &'a self,
        id: &'a str,
        revocation: &'a Revocation,
    ) -> Answer<'a, Option<u64>> {
        transaction!(self, bearer::revoke, id, revocation)
    }

    fn add_exception<'a>(&'a self, record: &'a ExceptionRecord) -> Answer<'a, u64> {
        transaction!(self, exception::add, record)
    }

    fn end_exception<'a>(&'a self, id: &'a str, by: (u32, Timestamp)) -> Answer<'a, Option<u64>> {
        transaction!(self, exception::end, id, by)
    }

    fn copy_to<'a>(&'a self, file: &'a Path) -> Answer<'a, ()> {
        Box::pin(async move {
            sqlx::query("VACUUM INTO ?")
                .bind(file.to_string_lossy())
                .execute(&self.pool)
                .await
                .map_err(|error| self.error(&error))?;
            Ok(())
        })
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async {
            self.pool.close().await;
            Ok(())
        })
    }
}

/// Why rows could not be read or written; the store adds which file it was.
#[derive(Debug)]
enum RowError {
    Database(sqlx::Error),
    BadValue(&'static str),
    TrustDomainSet(String),
}

impl From<sqlx::Error> for RowError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// SQLite would create the file with the process's umask; the WAL beside it takes over the file's mode.
fn create_private(file: &Path) -> Result<(), StoreError> {
    let failed = |action| {
        move |source| StoreError::File {
            action,
            file: file.to_owned(),
            source,
        }
    };
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file);
    match created {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("create")(error)),
    }
    let mode = fs::metadata(file).map_err(failed("read"))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(StoreError::Mode {
            file: file.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// A database that has tables but not our mark belongs to someone else: nothing is written to it.
async fn refuse_foreign(file: &Path, pool: &SqlitePool) -> Result<(), StoreError> {
    let failed = |error: sqlx::Error| database_error(file, &error);
    let application_id: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(pool)
        .await
        .map_err(failed)?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(pool)
        .await
        .map_err(failed)?;
    if application_id == APPLICATION_ID || (application_id == 0 && tables == 0) {
        return Ok(());
    }
    // A first start that was killed inside its migration has sqlx's table and nothing else.
    let ours: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_schema WHERE tbl_name != '_sqlx_migrations'",
    )
    .fetch_one(pool)
    .await
    .map_err(failed)?;
    match ours {
        0 => Ok(()),
        _ => Err(StoreError::Foreign {
            file: file.to_owned(),
            application_id,
        }),
    }
}

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// "csgn"; the first migration sets it.
const APPLICATION_ID: i64 = 0x6373_676e;

/// How long another program may hold the database's lock before a write is given up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a write may wait for those before it.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
