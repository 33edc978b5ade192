//! Bearer tokens: handing them out, looking at them, taking them back.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use countersign_channel::profile::TokenVersion;
use jiff::Timestamp;

use super::Refused;
use super::grants::known;
use crate::audit::Operator;
use crate::bearer::NewBearer;
use crate::gateway::Gateway;
use crate::operator::{
    Revocation, RevokeRequest, Token, TokenIssued, TokenRequest, TokenRevoked, Tokens,
};

pub(super) async fn issue(
    State(gateway): State<Arc<Gateway>>,
    Extension(operator): Extension<Operator>,
    Json(request): Json<TokenRequest>,
) -> Result<Json<TokenIssued>, Refused> {
    let service = request.service.to_ascii_lowercase();
    if !known(&gateway, &service) {
        let detail = format!("there is no service `{service}`");
        return Err(Refused::invalid("unknown-service", detail)
            .with_hint("`countersign services list` shows every service"));
    }
    let new = NewBearer {
        subject: request.subject,
        service,
        expires_in: Duration::from_secs(request.expires_in),
        version: version(&gateway),
    };
    let bearers = &gateway.custody.bearers;
    let issued = bearers.issue(new, operator, Timestamp::now()).await;
    let issued = issued.map_err(|error| Refused::reported("token", error))?;
    let token = issued.token.clone();
    Ok(Json(TokenIssued {
        token: issued.expose_secret().to_owned(),
        id: token.id,
        subject: token.subject,
        service: token.service,
        expires_at: token.expires_at,
    }))
}

pub(super) async fn list(State(gateway): State<Arc<Gateway>>) -> Json<Tokens> {
    let snapshot = gateway.custody.state.snapshot();
    let tokens = snapshot.bearers.values().map(|token| Token {
        id: token.id.clone(),
        subject: token.subject.clone(),
        service: token.service.clone(),
        issued_at: token.issued_at,
        issued_by: token.issued_by,
        expires_at: token.expires_at,
        streams: gateway.live.streams_by_token(&token.id),
        revoked: token.revoked.as_ref().map(|revoked| Revocation {
            at: revoked.at,
            reason: revoked.reason.clone(),
        }),
    });
    let mut tokens: Vec<_> = tokens.collect();
    tokens.sort_by(|a, b| (a.issued_at, &a.id).cmp(&(b.issued_at, &b.id)));
    Json(Tokens { tokens })
}

pub(super) async fn revoke(
    State(gateway): State<Arc<Gateway>>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    Json(request): Json<RevokeRequest>,
) -> Result<Json<TokenRevoked>, Refused> {
    let streams_closed = gateway.live.streams_by_token(&id);
    let bearers = &gateway.custody.bearers;
    let revoked = bearers
        .revoke(&id, &request.reason, operator, Timestamp::now())
        .await;
    let token = revoked.map_err(|error| Refused::reported("revoke", error))?;
    // Whoever watches the state cuts them; doing it here too answers when it is done.
    gateway.decide_again();
    Ok(Json(TokenRevoked {
        id,
        subject: token.subject.clone(),
        streams_closed,
    }))
}

/// The version that every listener takes: where one profile allows only `v3`, that one.
fn version(gateway: &Gateway) -> TokenVersion {
    let profiles = gateway.running().config.profiles();
    let strictest =
        |profile: &countersign_channel::Profile| profile.token_version() == TokenVersion::V3;
    match profiles.iter().any(strictest) {
        true => TokenVersion::V3,
        false => TokenVersion::V4,
    }
}
