//! Machines: letting them in, looking at them, shutting them out.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use countersign_attest::Technology;
use http::StatusCode;
use jiff::Timestamp;

use super::Refused;
use crate::audit::{Event, Operator};
use crate::enrolment::NewJoinString;
use crate::gateway::Gateway;
use crate::gateway::live::{ChannelId, CutReason};
use crate::operator::{
    Agent, AgentRevoked, Agents, JoinStringCreated, JoinStringRequest, Revocation, RevokeRequest,
    SessionClosed,
};

pub(super) async fn create_join_string(
    State(gateway): State<Arc<Gateway>>,
    Extension(operator): Extension<Operator>,
    Json(request): Json<JoinStringRequest>,
) -> Result<Json<JoinStringCreated>, Refused> {
    let (own, profile) = gateway.advertised();
    let address = match &request.address {
        None => own,
        Some(address) => address.parse().map_err(|allowed| {
            let detail = format!("`{address}` is no address: it has to be {allowed}");
            Refused::invalid("invalid-address", detail)
        })?,
    };
    let new = NewJoinString {
        name: request.name.clone(),
        expires_in: Duration::from_secs(request.expires_in),
        replace: request.replace,
        address,
        profile,
    };
    let enrolment = &gateway.custody.enrolment;
    let (join_string, expires_at) = enrolment
        .create_join_string(new, operator, Timestamp::now())
        .await
        .map_err(|error| Refused::reported("join-string", error))?;
    Ok(Json(JoinStringCreated {
        join_string: join_string.expose_secret().to_string(),
        name: request.name,
        expires_at,
    }))
}

pub(super) async fn list(State(gateway): State<Arc<Gateway>>) -> Json<Agents> {
    let snapshot = gateway.custody.state.snapshot();
    let channels = gateway.live.channels();
    let open = |name: &str| {
        channels
            .iter()
            .filter(|c| c.agent_name() == Some(name))
            .count()
    };
    let agents = snapshot.agents.values().map(|agent| Agent {
        name: agent.name.clone(),
        id: agent.spiffe_id.clone(),
        enrolled_at: agent.enrolled_at,
        last_seen: agent.last_seen,
        certificate_expires_at: agent.certificate_expires_at,
        channels: open(&agent.name),
        technology: snapshot
            .machines
            .get(&agent.name)
            .map_or(Technology::Software.name(), |machine| machine.technology())
            .to_owned(),
        revoked: agent.revoked.as_ref().map(|r| Revocation {
            at: r.at,
            reason: r.reason.clone(),
        }),
    });
    Json(Agents {
        agents: agents.collect(),
    })
}

pub(super) async fn revoke(
    State(gateway): State<Arc<Gateway>>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
    Json(request): Json<RevokeRequest>,
) -> Result<Json<AgentRevoked>, Refused> {
    let channels = gateway.live.channels();
    let theirs = channels
        .iter()
        .filter(|channel| channel.agent_name() == Some(&*name));
    let channels_closed = theirs.count();
    let enrolment = &gateway.custody.enrolment;
    enrolment
        .revoke(&name, &request.reason, operator, Timestamp::now())
        .await
        .map_err(|error| Refused::reported("revoke", error))?;
    // Whoever watches the state cuts them; doing it here too answers when it is done.
    gateway.decide_again();
    Ok(Json(AgentRevoked {
        name,
        channels_closed,
    }))
}

pub(super) async fn close_session(
    State(gateway): State<Arc<Gateway>>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
) -> Result<Json<SessionClosed>, Refused> {
    let unknown = || {
        Refused::new(
            StatusCode::NOT_FOUND,
            "unknown-session",
            format!("there is no session `{id}`"),
        )
        .with_hint("`countersign sessions list` shows every session")
    };
    let channel_id: ChannelId = id.parse().map_err(|_| unknown())?;
    let channel = gateway
        .live
        .close(channel_id, CutReason::ClosedByOperator)
        .ok_or_else(unknown)?;
    gateway.custody.audit.record(Event::SessionClosed {
        channel: id.clone(),
        principal: channel.principal(),
        operator,
    });
    Ok(Json(SessionClosed { id }))
}
