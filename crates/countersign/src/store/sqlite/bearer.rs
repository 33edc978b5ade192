//! Bearer tokens: issued, listed and revoked by id.

use sqlx::{Row, SqliteConnection};

use super::writes::change;
use super::{RowError, rows};
use crate::store::{BearerToken, Revocation};

pub(super) async fn issue(
    connection: &mut SqliteConnection,
    token: &BearerToken,
) -> Result<u64, RowError> {
    sqlx::query("DELETE FROM bearer_tokens WHERE expires_at < ?")
        .bind(BearerToken::long_past(token.issued_at).as_millisecond())
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO bearer_tokens (id, subject, service, issued_at, issued_by, expires_at)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&token.id)
    .bind(&token.subject)
    .bind(&token.service)
    .bind(token.issued_at.as_millisecond())
    .bind(token.issued_by)
    .bind(token.expires_at.as_millisecond())
    .execute(&mut *connection)
    .await?;
    change(connection, KIND, &token.id, token.issued_at).await
}

pub(super) async fn revoke(
    connection: &mut SqliteConnection,
    id: &str,
    revocation: &Revocation,
) -> Result<Option<u64>, RowError> {
    let revoked = sqlx::query(
        "UPDATE bearer_tokens SET revoked_at = ?, revoked_reason = ?
         WHERE id = ? AND revoked_at IS NULL",
    )
    .bind(revocation.at.as_millisecond())
    .bind(&revocation.reason)
    .bind(id)
    .execute(&mut *connection)
    .await?;
    if revoked.rows_affected() == 0 {
        return Ok(None);
    }
    change(connection, KIND, id, revocation.at).await.map(Some)
}

pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Vec<BearerToken>, RowError> {
    let rows = sqlx::query("SELECT * FROM bearer_tokens ORDER BY id")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(BearerToken {
                id: row.try_get("id")?,
                subject: row.try_get("subject")?,
                service: row.try_get("service")?,
                issued_at: rows::time(row, "issued_at")?,
                issued_by: row.try_get("issued_by")?,
                expires_at: rows::time(row, "expires_at")?,
                revoked: rows::revocation(row)?,
            })
        })
        .collect()
}

const KIND: &str = "bearer-token";
