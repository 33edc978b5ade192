//! Join tokens and the agents that they let in: each decision and its writes are one transaction, so that two agents
//! with one token, or one agent that asks twice, meet in an order.

use countersign_channel::identity::SpkiHash;
use jiff::{SignedDuration, Timestamp};
use sqlx::{Row, SqliteConnection};

use super::writes::change;
use super::{RowError, rows};
use crate::store::{Agent, AgentChange, EnrolOutcome, Enrolment, JoinToken, Renewal, Revocation};

pub(super) async fn create_join(
    connection: &mut SqliteConnection,
    token: &JoinToken,
) -> Result<u64, RowError> {
    let long_past = token
        .created_at
        .saturating_sub(TOKENS_KEPT)
        .unwrap_or(Timestamp::MIN);
    sqlx::query("DELETE FROM join_tokens WHERE expires_at < ?")
        .bind(long_past.as_millisecond())
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO join_tokens (id, name, replaces, created_at, created_by, expires_at)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&token.id)
    .bind(&token.name)
    .bind(token.replaces)
    .bind(token.created_at.as_millisecond())
    .bind(token.created_by)
    .bind(token.expires_at.as_millisecond())
    .execute(&mut *connection)
    .await?;
    change(connection, "join-token", &token.id, token.created_at).await
}

pub(super) async fn void_join_tokens(
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> Result<(), RowError> {
    sqlx::query("DELETE FROM join_tokens WHERE used_by IS NULL")
        .execute(&mut *connection)
        .await?;
    change(connection, "join-token", "", now).await?;
    Ok(())
}

pub(super) async fn enrol(
    connection: &mut SqliteConnection,
    enrolment: &Enrolment,
) -> Result<EnrolOutcome, RowError> {
    if let Some(at) = key_revoked(connection, &enrolment.spki).await? {
        return Ok(EnrolOutcome::KeyRevoked { at });
    }
    let Some(token) = token(connection, enrolment).await? else {
        return Ok(EnrolOutcome::UnknownToken);
    };
    let holder = rows::agent(connection, &enrolment.name).await?;
    match (token.used, holder) {
        (Some((by, _)), Some(agent)) if by == enrolment.spki && agent.spki == by => {
            write_agent(connection, Agent::entered(enrolment), enrolment.now)
                .await
                .map(EnrolOutcome::Repeated)
        }
        (Some((_, at)), _) => Ok(EnrolOutcome::Used { at }),
        (None, _) if token.expires_at <= enrolment.now => Ok(EnrolOutcome::Expired {
            at: token.expires_at,
        }),
        (None, Some(agent)) if agent.spki != enrolment.spki && !token.replaces => {
            Ok(EnrolOutcome::NameInUse)
        }
        (None, _) => {
            use_token(connection, enrolment).await?;
            write_agent(connection, Agent::entered(enrolment), enrolment.now)
                .await
                .map(EnrolOutcome::Enrolled)
        }
    }
}

pub(super) async fn renew(
    connection: &mut SqliteConnection,
    renewal: &Renewal,
) -> Result<Option<AgentChange>, RowError> {
    let agent = rows::agent(connection, &renewal.name).await?;
    let holds = |agent: &Agent| agent.revoked.is_none() && agent.holds(&renewal.from, renewal.now);
    let Some(agent) = agent.filter(holds) else {
        return Ok(None);
    };
    if key_revoked(connection, &renewal.spki).await?.is_some() {
        return Ok(None);
    }
    write_agent(connection, agent.renewed(renewal), renewal.now)
        .await
        .map(Some)
}

pub(super) async fn revoke(
    connection: &mut SqliteConnection,
    name: &str,
    revocation: &Revocation,
) -> Result<Option<AgentChange>, RowError> {
    let agent = rows::agent(connection, name).await?;
    let Some(mut agent) = agent.filter(|agent| agent.revoked.is_none()) else {
        return Ok(None);
    };
    let previous = agent.previous.map(|(spki, _)| spki);
    for spki in [Some(agent.spki), previous].into_iter().flatten() {
        sqlx::query(
            "INSERT INTO revoked_keys (spki, name, revoked_at) VALUES (?, ?, ?)
             ON CONFLICT DO NOTHING",
        )
        .bind(spki.as_bytes().to_vec())
        .bind(name)
        .bind(revocation.at.as_millisecond())
        .execute(&mut *connection)
        .await?;
    }
    agent.revoked = Some(revocation.clone());
    write_agent(connection, agent, revocation.at)
        .await
        .map(Some)
}

struct TokenRow {
    replaces: bool,
    expires_at: Timestamp,
    used: Option<(SpkiHash, Timestamp)>,
}

async fn token(
    connection: &mut SqliteConnection,
    enrolment: &Enrolment,
) -> Result<Option<TokenRow>, RowError> {
    let row = sqlx::query("SELECT * FROM join_tokens WHERE id = ? AND name = ?")
        .bind(&enrolment.token_id)
        .bind(&enrolment.name)
        .fetch_optional(connection)
        .await?;
    row.map(|row| {
        Ok(TokenRow {
            replaces: row.try_get("replaces")?,
            expires_at: rows::time(&row, "expires_at")?,
            used: rows::optional_spki(&row, "used_by")?.zip(rows::optional_time(&row, "used_at")?),
        })
    })
    .transpose()
}

async fn key_revoked(
    connection: &mut SqliteConnection,
    spki: &SpkiHash,
) -> Result<Option<Timestamp>, RowError> {
    let row = sqlx::query("SELECT revoked_at FROM revoked_keys WHERE spki = ?")
        .bind(spki.as_bytes().to_vec())
        .fetch_optional(connection)
        .await?;
    row.map(|row| rows::time(&row, "revoked_at")).transpose()
}

async fn use_token(
    connection: &mut SqliteConnection,
    enrolment: &Enrolment,
) -> Result<(), RowError> {
    sqlx::query("UPDATE join_tokens SET used_by = ?, used_at = ? WHERE id = ?")
        .bind(enrolment.spki.as_bytes().to_vec())
        .bind(enrolment.now.as_millisecond())
        .bind(&enrolment.token_id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Writes the whole record, in place of whoever had the name.
async fn write_agent(
    connection: &mut SqliteConnection,
    agent: Agent,
    now: Timestamp,
) -> Result<AgentChange, RowError> {
    sqlx::query(
        "INSERT OR REPLACE INTO agents
             (name, spiffe_id, spki, previous_spki, previous_until, serial,
              certificate_expires_at, enrolled_at, last_seen, revoked_at, revoked_reason)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&agent.name)
    .bind(&agent.spiffe_id)
    .bind(agent.spki.as_bytes().to_vec())
    .bind(agent.previous.map(|(spki, _)| spki.as_bytes().to_vec()))
    .bind(agent.previous.map(|(_, until)| until.as_millisecond()))
    .bind(&agent.serial)
    .bind(agent.certificate_expires_at.as_millisecond())
    .bind(agent.enrolled_at.as_millisecond())
    .bind(agent.last_seen.map(Timestamp::as_millisecond))
    .bind(
        agent
            .revoked
            .as_ref()
            .map(|revocation| revocation.at.as_millisecond()),
    )
    .bind(
        agent
            .revoked
            .as_ref()
            .map(|revocation| revocation.reason.clone()),
    )
    .execute(&mut *connection)
    .await?;
    let revision = change(connection, "agent", &agent.name, now).await?;
    Ok(AgentChange { revision, agent })
}

/// How long a used or expired token is still told apart from one that never was.
const TOKENS_KEPT: SignedDuration = SignedDuration::from_hours(24 * 7);
