//! Exceptions: who may still use classical key exchange, until when.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use countersign_channel::server::Network;
use jiff::Timestamp;

use super::Refused;
use crate::audit::{Event, Operator};
use crate::config::is_domain;
use crate::gateway::Gateway;
use crate::gateway::exceptions::KnownException;
use crate::operator::{Exception, ExceptionEnded, ExceptionRequest, Exceptions, Origin};
use crate::store::ExceptionRecord;

pub(super) async fn list(State(gateway): State<Arc<Gateway>>) -> Json<Exceptions> {
    let running = gateway.running();
    let exceptions = running.exceptions.iter();
    Json(Exceptions {
        exceptions: exceptions.map(|known| view(&gateway, known)).collect(),
    })
}

pub(super) async fn add(
    State(gateway): State<Arc<Gateway>>,
    Extension(operator): Extension<Operator>,
    Json(request): Json<ExceptionRequest>,
) -> Result<Json<Exception>, Refused> {
    let now = Timestamp::now();
    check_effect(&gateway, &request, now)?;
    let record = ExceptionRecord {
        exception: exception(&request)?,
        listener: request.listener.clone(),
        created_at: now,
        created_by: operator.uid,
        ended_by: None,
    };
    let id = record.exception.id.clone();
    let state = &gateway.custody.state;
    let added = state.add_exception(record).await;
    added.map_err(|error| Refused::failed(&error))?;
    gateway.custody.audit.record(Event::ExceptionAdded {
        exception: id.clone(),
        owner: request.owner,
        reason: request.reason,
        ends: request.ends,
        source: request.source,
        sni: request.sni,
        listener: request.listener,
        operator,
    });
    take(&gateway).await?;
    let running = gateway.running();
    let known = running.exceptions.find(&id);
    let known = known.ok_or_else(|| unknown(&id))?;
    Ok(Json(view(&gateway, known)))
}

pub(super) async fn end(
    State(gateway): State<Arc<Gateway>>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
) -> Result<Json<ExceptionEnded>, Refused> {
    let running = gateway.running();
    let known = running.exceptions.find(&id).ok_or_else(|| unknown(&id))?;
    if known.origin == Origin::Config {
        let file = gateway.config_file.display();
        let detail = format!("the exception `{id}` stands in the configuration, `{file}`");
        return Err(Refused::invalid("configured-exception", detail)
            .with_hint("remove its [[exception]] from that file and reload it with SIGHUP"));
    }
    let channels_closed = channels(&gateway, &id);
    let state = &gateway.custody.state;
    let ended = state.end_exception(&id, (operator.uid, Timestamp::now()));
    if !ended.await.map_err(|error| Refused::failed(&error))? {
        let detail = format!("the exception `{id}` ended at {}", known.exception.ends);
        return Err(Refused::invalid("ended-exception", detail));
    }
    gateway.custody.audit.record(Event::ExceptionEnded {
        exception: id.clone(),
        owner: known.exception.owner.clone(),
        operator: Some(operator),
    });
    take(&gateway).await?;
    Ok(Json(ExceptionEnded {
        id,
        channels_closed,
    }))
}

/// What an operator is shown.
fn view(gateway: &Gateway, known: &KnownException) -> Exception {
    let exception = &known.exception;
    let running = gateway.running();
    let listeners = running.listeners.iter();
    let heeds = listeners.filter(|one| one.heeds_exceptions() && known.holds_for(&one.name));
    let used = gateway.exception_uses.of(&exception.id);
    Exception {
        id: exception.id.clone(),
        origin: known.origin,
        source: exception.network.map(|network| network.to_string()),
        sni: exception.sni.clone(),
        listener: known.listener.clone(),
        heeded_by: heeds.map(|listener| listener.name.clone()).collect(),
        owner: exception.owner.clone(),
        reason: exception.reason.clone(),
        added_at: known.added_at,
        ends: exception.ends,
        ended: exception.ends <= Timestamp::now(),
        ended_by: known.ended_by,
        channels: channels(gateway, &exception.id),
        used: used.channels,
        last_used: used.last,
    }
}

/// How many channels are open under an exception.
fn channels(gateway: &Gateway, id: &str) -> usize {
    let channels = gateway.live.channels();
    let under = |exception: &Option<String>| exception.as_deref() == Some(id);
    channels
        .iter()
        .filter(|channel| under(&channel.record.exception))
        .count()
}

/// Whoever watches the state does it too; doing it here answers when it is done.
async fn take(gateway: &Gateway) -> Result<(), Refused> {
    let taken = gateway.take_exceptions().await;
    taken.map_err(|error| Refused::failed(&error))
}

/// The exception that a request describes, under a fresh id.
fn exception(
    request: &ExceptionRequest,
) -> Result<countersign_channel::server::Exception, Refused> {
    for (word, text) in [("an owner", &request.owner), ("a reason", &request.reason)] {
        if text.trim().is_empty() {
            let detail = format!("an exception has {word}");
            return Err(Refused::invalid("unaccounted-exception", detail));
        }
    }
    let network = request.source.as_deref().map(str::parse::<Network>);
    let network = network.transpose();
    if let Some(name) = request.sni.as_deref().filter(|name| !is_domain(name)) {
        let detail = format!("`{name}` is no domain name in lower case");
        return Err(Refused::invalid("invalid-name", detail));
    }
    Ok(countersign_channel::server::Exception {
        id: format!("x-{:08x}", u32::from_be_bytes(crate::random::bytes())),
        owner: request.owner.clone(),
        reason: request.reason.clone(),
        ends: request.ends,
        network: network.map_err(|error| Refused::invalid("invalid-network", error.to_string()))?,
        sni: request.sni.clone(),
    })
}

/// Refuses what would let everyone in, or nobody.
fn check_effect(
    gateway: &Gateway,
    request: &ExceptionRequest,
    now: Timestamp,
) -> Result<(), Refused> {
    if request.source.is_none() && request.sni.is_none() {
        let detail = "the exception would let every client in".to_owned();
        return Err(Refused::invalid("exception-for-everyone", detail)
            .with_hint("narrow it with `--source`, with `--sni`, or with both"));
    }
    if request.ends <= now {
        let detail = format!("the exception would have ended at {}", request.ends);
        return Err(Refused::invalid("ended-exception", detail));
    }
    let running = gateway.running();
    let mut listeners = running.listeners.iter();
    let stages = "`countersign stage show` shows every listener and its stage";
    let heeded = match &request.listener {
        None => listeners.any(|listener| listener.heeds_exceptions()),
        Some(name) => listeners
            .find(|listener| listener.name == *name)
            .ok_or_else(|| {
                let detail = format!("there is no listener `{name}`");
                Refused::invalid("unknown-listener", detail).with_hint(stages)
            })?
            .heeds_exceptions(),
    };
    if !heeded {
        let detail =
            "the exception would have no effect: only stage `classical-canary` heeds exceptions";
        return Err(Refused::invalid("no-effect", detail.to_owned()).with_hint(stages));
    }
    Ok(())
}

fn unknown(id: &str) -> Refused {
    Refused::not_found("unknown-exception", format!("there is no exception `{id}`"))
        .with_hint("`countersign exceptions list` shows every exception")
}
