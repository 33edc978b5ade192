//! Statements that change something, and the sequence that counts changes.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::{RowError, rows};
use crate::store::{BundleDocument, GrantRecord, Initial, SealedSecret, SecretKind};

/// Notes a change and gives the new revision. Rows that nobody can still wait for are forgotten.
pub(super) async fn change(
    connection: &mut SqliteConnection,
    kind: &str,
    subject: &str,
    now: Timestamp,
) -> Result<u64, RowError> {
    let inserted = sqlx::query("INSERT INTO changes (at, kind, subject) VALUES (?, ?, ?)")
        .bind(now.as_millisecond())
        .bind(kind)
        .bind(subject)
        .execute(&mut *connection)
        .await?;
    let sequence = inserted.last_insert_rowid();
    sqlx::query("DELETE FROM changes WHERE sequence <= ?")
        .bind(sequence.saturating_sub(CHANGES_KEPT))
        .execute(connection)
        .await?;
    u64::try_from(sequence).map_err(|_| RowError::BadValue("changes.sequence"))
}

pub(super) async fn initialise(
    connection: &mut SqliteConnection,
    first: &Initial,
) -> Result<u64, RowError> {
    if let Some(stored) = rows::trust_domain(connection).await? {
        return Err(RowError::TrustDomainSet(stored));
    }
    sqlx::query("INSERT INTO meta (key, value) VALUES ('trust_domain', ?)")
        .bind(&first.trust_domain)
        .execute(&mut *connection)
        .await?;
    for secret in &first.secrets {
        write_secret(connection, secret).await?;
    }
    write_bundle(connection, &first.bundle).await?;
    change(
        connection,
        "initialise",
        &first.trust_domain,
        first.bundle.issued_at,
    )
    .await
}

pub(super) async fn put_secret(
    connection: &mut SqliteConnection,
    secret: &SealedSecret,
    now: Timestamp,
) -> Result<u64, RowError> {
    write_secret(connection, secret).await?;
    change(connection, secret.kind.name(), &secret.id, now).await
}

pub(super) async fn remove_secret(
    connection: &mut SqliteConnection,
    kind: SecretKind,
    id: &str,
    now: Timestamp,
) -> Result<u64, RowError> {
    sqlx::query("DELETE FROM secrets WHERE kind = ? AND id = ?")
        .bind(kind.name())
        .bind(id)
        .execute(&mut *connection)
        .await?;
    change(connection, kind.name(), id, now).await
}

pub(super) async fn publish_bundle(
    connection: &mut SqliteConnection,
    bundle: &BundleDocument,
) -> Result<u64, RowError> {
    write_bundle(connection, bundle).await?;
    change(
        connection,
        "bundle",
        &bundle.version.to_string(),
        bundle.issued_at,
    )
    .await
}

pub(super) async fn seen(
    connection: &mut SqliteConnection,
    agents: &[(String, Timestamp)],
    clocks: &[(String, String)],
) -> Result<(), RowError> {
    for (name, at) in agents {
        sqlx::query("UPDATE agents SET last_seen = max(coalesce(last_seen, 0), ?) WHERE name = ?")
            .bind(at.as_millisecond())
            .bind(name)
            .execute(&mut *connection)
            .await?;
    }
    for (agent, clock) in clocks {
        sqlx::query("UPDATE machines SET clock = ? WHERE agent = ?")
            .bind(clock)
            .bind(agent)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

pub(super) async fn add_grant(
    connection: &mut SqliteConnection,
    grant: &GrantRecord,
) -> Result<Option<u64>, RowError> {
    let inserted = sqlx::query(
        "INSERT INTO grants (principal, service, created_at, created_by) VALUES (?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(&grant.principal)
    .bind(&grant.service)
    .bind(grant.created_at.as_millisecond())
    .bind(grant.created_by)
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(None);
    }
    change(connection, "grant", &grant.principal, grant.created_at)
        .await
        .map(Some)
}

pub(super) async fn remove_grant(
    connection: &mut SqliteConnection,
    principal: &str,
    service: &str,
    now: Timestamp,
) -> Result<Option<u64>, RowError> {
    let removed = sqlx::query("DELETE FROM grants WHERE principal = ? AND service = ?")
        .bind(principal)
        .bind(service)
        .execute(&mut *connection)
        .await?;
    if removed.rows_affected() == 0 {
        return Ok(None);
    }
    change(connection, "grant", principal, now).await.map(Some)
}

async fn write_secret(
    connection: &mut SqliteConnection,
    secret: &SealedSecret,
) -> Result<(), RowError> {
    sqlx::query(
        "INSERT INTO secrets (kind, id, sealed, not_before, not_after) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (kind, id) DO UPDATE SET
             sealed = excluded.sealed, not_before = excluded.not_before, not_after = excluded.not_after",
    )
    .bind(secret.kind.name())
    .bind(&secret.id)
    .bind(&secret.sealed)
    .bind(secret.not_before.as_millisecond())
    .bind(secret.not_after.map(|at| at.as_millisecond()))
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_bundle(
    connection: &mut SqliteConnection,
    bundle: &BundleDocument,
) -> Result<(), RowError> {
    let version =
        i64::try_from(bundle.version).map_err(|_| RowError::BadValue("bundles.version"))?;
    sqlx::query("INSERT INTO bundles (version, issued_at, document) VALUES (?, ?, ?)")
        .bind(version)
        .bind(bundle.issued_at.as_millisecond())
        .bind(&bundle.document)
        .execute(connection)
        .await?;
    Ok(())
}

/// Enough for a reader that polls to see what it missed; one that fell further behind loads everything.
const CHANGES_KEPT: i64 = 10_000;
