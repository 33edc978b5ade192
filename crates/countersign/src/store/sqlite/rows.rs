//! From rows to what they mean.

use countersign_channel::identity::SpkiHash;
use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{RowError, bearer, exception, machine};
use crate::store::{
    Agent, BundleDocument, Contents, GrantRecord, Revocation, SealedSecret, SecretKind,
};

/// Everything, in one read.
pub(super) async fn contents(connection: &mut SqliteConnection) -> Result<Contents, RowError> {
    Ok(Contents {
        revision: revision(connection).await?,
        trust_domain: trust_domain(connection).await?,
        secrets: secrets(connection).await?,
        bundle: newest_bundle(connection).await?,
        agents: agents(connection).await?,
        machines: machine::all(connection).await?,
        allowed_eks: machine::allowed(connection).await?,
        grants: grants(connection).await?,
        bearers: bearer::all(connection).await?,
        exceptions: exception::all(connection).await?,
    })
}

/// The name of the trust domain, once there is one.
pub(super) async fn trust_domain(
    connection: &mut SqliteConnection,
) -> Result<Option<String>, RowError> {
    Ok(
        sqlx::query_scalar("SELECT value FROM meta WHERE key = 'trust_domain'")
            .fetch_optional(connection)
            .await?,
    )
}

/// The agent of that name.
pub(super) async fn agent(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<Option<Agent>, RowError> {
    sqlx::query("SELECT * FROM agents WHERE name = ?")
        .bind(name)
        .fetch_optional(connection)
        .await?
        .map(|row| read_agent(&row))
        .transpose()
}

/// Milliseconds, as the tables hold times.
pub(super) fn time(row: &SqliteRow, column: &'static str) -> Result<Timestamp, RowError> {
    let milliseconds: i64 = row.try_get(column)?;
    Timestamp::from_millisecond(milliseconds).map_err(|_| RowError::BadValue(column))
}

/// Milliseconds, or nothing.
pub(super) fn optional_time(
    row: &SqliteRow,
    column: &'static str,
) -> Result<Option<Timestamp>, RowError> {
    let milliseconds: Option<i64> = row.try_get(column)?;
    milliseconds
        .map(|milliseconds| {
            Timestamp::from_millisecond(milliseconds).map_err(|_| RowError::BadValue(column))
        })
        .transpose()
}

/// A SHA-384, or nothing.
pub(super) fn optional_spki(
    row: &SqliteRow,
    column: &'static str,
) -> Result<Option<SpkiHash>, RowError> {
    let bytes: Option<Vec<u8>> = row.try_get(column)?;
    bytes
        .map(|bytes| {
            <[u8; 48]>::try_from(bytes)
                .map(SpkiHash::from)
                .map_err(|_| RowError::BadValue(column))
        })
        .transpose()
}

/// When and why, where it was revoked.
pub(super) fn revocation(row: &SqliteRow) -> Result<Option<Revocation>, RowError> {
    let reason: Option<String> = row.try_get("revoked_reason")?;
    let at = optional_time(row, "revoked_at")?;
    Ok(at.map(|at| Revocation {
        at,
        reason: reason.unwrap_or_default(),
    }))
}

async fn revision(connection: &mut SqliteConnection) -> Result<u64, RowError> {
    let newest: i64 = sqlx::query_scalar("SELECT coalesce(max(sequence), 0) FROM changes")
        .fetch_one(connection)
        .await?;
    u64::try_from(newest).map_err(|_| RowError::BadValue("changes.sequence"))
}

async fn secrets(connection: &mut SqliteConnection) -> Result<Vec<SealedSecret>, RowError> {
    let rows = sqlx::query("SELECT * FROM secrets ORDER BY kind, not_before, id")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let kind: String = row.try_get("kind")?;
            Ok(SealedSecret {
                kind: SecretKind::named(&kind).ok_or(RowError::BadValue("secrets.kind"))?,
                id: row.try_get("id")?,
                sealed: row.try_get("sealed")?,
                not_before: time(row, "not_before")?,
                not_after: optional_time(row, "not_after")?,
            })
        })
        .collect()
}

async fn newest_bundle(
    connection: &mut SqliteConnection,
) -> Result<Option<BundleDocument>, RowError> {
    let newest = sqlx::query("SELECT * FROM bundles ORDER BY version DESC LIMIT 1")
        .fetch_optional(connection)
        .await?;
    newest
        .map(|row| {
            let version: i64 = row.try_get("version")?;
            Ok(BundleDocument {
                version: version
                    .try_into()
                    .map_err(|_| RowError::BadValue("bundles.version"))?,
                issued_at: time(&row, "issued_at")?,
                document: row.try_get("document")?,
            })
        })
        .transpose()
}

async fn agents(connection: &mut SqliteConnection) -> Result<Vec<Agent>, RowError> {
    let rows = sqlx::query("SELECT * FROM agents ORDER BY name")
        .fetch_all(connection)
        .await?;
    rows.iter().map(read_agent).collect()
}

fn read_agent(row: &SqliteRow) -> Result<Agent, RowError> {
    let spki = optional_spki(row, "spki")?.ok_or(RowError::BadValue("agents.spki"))?;
    let previous = optional_spki(row, "previous_spki")?.zip(optional_time(row, "previous_until")?);
    Ok(Agent {
        name: row.try_get("name")?,
        spiffe_id: row.try_get("spiffe_id")?,
        spki,
        previous,
        serial: row.try_get("serial")?,
        certificate_expires_at: time(row, "certificate_expires_at")?,
        enrolled_at: time(row, "enrolled_at")?,
        last_seen: optional_time(row, "last_seen")?,
        revoked: revocation(row)?,
    })
}

async fn grants(connection: &mut SqliteConnection) -> Result<Vec<GrantRecord>, RowError> {
    let rows = sqlx::query("SELECT * FROM grants ORDER BY principal, service")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(GrantRecord {
                principal: row.try_get("principal")?,
                service: row.try_get("service")?,
                created_at: time(row, "created_at")?,
                created_by: row.try_get("created_by")?,
            })
        })
        .collect()
}
