//! Join tokens and the agents that they let in: each decision and its writes are one transaction, so that two agents
//! with one token, or one agent that asks twice, meet in an order.

use countersign_channel::identity::SpkiHash;
use jiff::{SignedDuration, Timestamp};
use sqlx::{Row, SqliteConnection};

use super::writes::change;
use super::{RowError, machine, rows};
use crate::store::{
    Agent, AgentChange, EnrolOutcome, Enrolment, EntersBy, JoinToken, KnownTpm, Machine, Renewal,
    Revocation,
};

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
    match &enrolment.by {
        EntersBy::Token(id, tpm) => enrol_by_token(connection, enrolment, id, tpm.as_ref()).await,
        EntersBy::Tpm(tpm) => enrol_by_tpm(connection, enrolment, tpm).await,
    }
}

async fn enrol_by_token(
    connection: &mut SqliteConnection,
    enrolment: &Enrolment,
    token_id: &str,
    tpm: Option<&KnownTpm>,
) -> Result<EnrolOutcome, RowError> {
    let Some(token) = token(connection, token_id, &enrolment.name).await? else {
        return Ok(EnrolOutcome::UnknownToken);
    };
    let holder = rows::agent(connection, &enrolment.name).await?;
    match (token.used, holder) {
        (Some((by, _)), Some(agent)) if by == enrolment.spki && agent.spki == by => {
            enter(connection, enrolment, tpm)
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
            use_token(connection, token_id, enrolment).await?;
            enter(connection, enrolment, tpm)
                .await
                .map(EnrolOutcome::Enrolled)
        }
    }
}

/// The name is the TPM's: whoever has it with another endorsement key keeps it, and a machine that lost its disk comes back.
async fn enrol_by_tpm(
    connection: &mut SqliteConnection,
    enrolment: &Enrolment,
    tpm: &KnownTpm,
) -> Result<EnrolOutcome, RowError> {
    let machine = machine::of_agent(connection, &enrolment.name).await?;
    let same = machine.is_some_and(|machine| machine.has_endorsement_key(&tpm.ek_hash));
    let holder = rows::agent(connection, &enrolment.name).await?;
    let revoked = holder.as_ref().and_then(|agent| agent.revoked.as_ref());
    if let Some(at) = revoked.map(|revocation| revocation.at) {
        let let_in = machine::let_in_at(connection, &tpm.ek_hash).await?;
        if let_in.is_none_or(|let_in| let_in <= at) {
            return Ok(EnrolOutcome::AgentRevoked { at });
        }
    }
    match holder {
        Some(agent) if !same && agent.revoked.is_none() => Ok(EnrolOutcome::NameInUse),
        Some(agent) if same && agent.spki == enrolment.spki => {
            enter(connection, enrolment, Some(tpm))
                .await
                .map(EnrolOutcome::Repeated)
        }
        _ => enter(connection, enrolment, Some(tpm))
            .await
            .map(EnrolOutcome::Enrolled),
    }
}

/// Enters the agent and what vouches for its machine, in place of whoever had the name. A guest vouches for the key that it showed
/// evidence with: the same key that asks again goes on having to.
async fn enter(
    connection: &mut SqliteConnection,
    enrolment: &Enrolment,
    tpm: Option<&KnownTpm>,
) -> Result<AgentChange, RowError> {
    let (name, now) = (&enrolment.name, enrolment.now);
    let before = machine::of_agent(connection, name).await?;
    let holder = rows::agent(connection, name).await?;
    let same = holder.is_some_and(|agent| agent.spki == enrolment.spki);
    let machine = match tpm {
        Some(tpm) => Some(Machine::entered(name, tpm.clone(), before, now)),
        None => before.filter(|before| same && before.tpm().is_none()),
    };
    machine::enter(connection, name, machine.as_ref()).await?;
    write_agent(connection, Agent::entered(enrolment), now).await
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
    id: &str,
    name: &str,
) -> Result<Option<TokenRow>, RowError> {
    let row = sqlx::query("SELECT * FROM join_tokens WHERE id = ? AND name = ?")
        .bind(id)
        .bind(name)
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
    id: &str,
    enrolment: &Enrolment,
) -> Result<(), RowError> {
    sqlx::query("UPDATE join_tokens SET used_by = ?, used_at = ? WHERE id = ?")
        .bind(enrolment.spki.as_bytes().to_vec())
        .bind(enrolment.now.as_millisecond())
        .bind(id)
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
    let machine = machine::of_agent(connection, &agent.name).await?;
    Ok(AgentChange {
        revision,
        agent,
        machine,
    })
}

/// How long a used or expired token is still told apart from one that never was.
const TOKENS_KEPT: SignedDuration = SignedDuration::from_hours(24 * 7);
