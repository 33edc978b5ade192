//! Exceptions that operators made.

use countersign_channel::server::{Exception, Network};
use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::RowError;
use super::rows::time;
use super::writes::change;
use crate::store::ExceptionRecord;

/// Every one that is remembered, the oldest first.
pub(super) async fn all(
    connection: &mut SqliteConnection,
) -> Result<Vec<ExceptionRecord>, RowError> {
    let rows = sqlx::query("SELECT * FROM exceptions ORDER BY created_at, id")
        .fetch_all(connection)
        .await?;
    rows.iter().map(read).collect()
}

pub(super) async fn add(
    connection: &mut SqliteConnection,
    record: &ExceptionRecord,
) -> Result<u64, RowError> {
    let (exception, now) = (&record.exception, record.created_at);
    sqlx::query("DELETE FROM exceptions WHERE ends < ?")
        .bind(ExceptionRecord::long_past(now).as_millisecond())
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO exceptions (id, listener, network, sni, owner, reason, ends, created_at, created_by)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&exception.id)
    .bind(&record.listener)
    .bind(exception.network.map(|network| network.to_string()))
    .bind(&exception.sni)
    .bind(&exception.owner)
    .bind(&exception.reason)
    .bind(exception.ends.as_millisecond())
    .bind(now.as_millisecond())
    .bind(record.created_by)
    .execute(&mut *connection)
    .await?;
    change(connection, "exception", &exception.id, now).await
}

pub(super) async fn end(
    connection: &mut SqliteConnection,
    id: &str,
    (operator, now): (u32, Timestamp),
) -> Result<Option<u64>, RowError> {
    let end = "UPDATE exceptions SET ends = ?1, ended_by = ?2 WHERE id = ?3 AND ends > ?1";
    let ended = sqlx::query(end)
        .bind(now.as_millisecond())
        .bind(operator)
        .bind(id)
        .execute(&mut *connection)
        .await?;
    if ended.rows_affected() == 0 {
        return Ok(None);
    }
    change(connection, "exception", id, now).await.map(Some)
}

fn read(row: &SqliteRow) -> Result<ExceptionRecord, RowError> {
    let network: Option<String> = row.try_get("network")?;
    let network = network.map(|text| text.parse::<Network>()).transpose();
    Ok(ExceptionRecord {
        exception: Exception {
            id: row.try_get("id")?,
            owner: row.try_get("owner")?,
            reason: row.try_get("reason")?,
            ends: time(row, "ends")?,
            network: network.map_err(|_| RowError::BadValue("exceptions.network"))?,
            sni: row.try_get("sni")?,
        },
        listener: row.try_get("listener")?,
        created_at: time(row, "created_at")?,
        created_by: row.try_get("created_by")?,
        ended_by: row.try_get("ended_by")?,
    })
}
