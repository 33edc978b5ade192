//! Who asks: the session that a request speaks in.
//!
//! An agent's channel has one session, which each new access token prolongs. Without an agent each request stands for
//! itself.

use std::sync::Arc;

use countersign_channel::stage::Kind;
use countersign_paseto::{ClaimError, TokenError};
use countersign_policy::{ChannelFacts, Facts};
use http::header::PROXY_AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::Gateway;
use super::live::{LiveChannel, Session};
use super::problem::Problem;
use crate::audit::Event;

/// The session that a request with these headers speaks in.
///
/// # Errors
///
/// What the client is to be told. A token that does not hold is in the audit trail by then.
pub(super) fn of_request(
    gateway: &Gateway,
    channel: &LiveChannel,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Session, Problem> {
    let (Some(name), Some(peer)) = (channel.agent_name(), &channel.record.peer) else {
        return anonymous(channel);
    };
    let refused = |problem: Problem| {
        gateway.custody.audit.record(Event::TokenRefused {
            reason: problem.detail.clone(),
            channel: Some(channel.id.to_string()),
            peer: channel.record.peer_address,
        });
        problem
    };
    // A token outlives the revocation of its agent: the key is asked for each stream.
    let snapshot = gateway.custody.state.snapshot();
    if let Err(shut_out) = snapshot.admit(name, &peer.spki_sha384, now) {
        let (code, detail) = (shut_out.code(), shut_out.to_string());
        return Err(refused(Problem::new(StatusCode::FORBIDDEN, code, detail)));
    }
    let missing = || refused(Problem::token("token_missing", NO_TOKEN));
    match bearer(headers) {
        Err(detail) => Err(refused(Problem::token("token_malformed", detail))),
        Ok(None) => channel.session(now).ok_or_else(missing),
        Ok(Some(token)) => match channel.session_of_token(token, now) {
            Some(session) => Ok(session),
            None => {
                let session = of_agent(gateway, channel, token, now).map_err(refused)?;
                channel.remember_token(token, session.clone());
                Ok(session)
            }
        },
    }
}

/// The session that an access token gives on a channel: it must be the channel's agent's, bound to the key that the
/// channel proved.
///
/// # Errors
///
/// What the agent is to be told.
pub(super) fn of_agent(
    gateway: &Gateway,
    channel: &LiveChannel,
    token: &str,
    now: Timestamp,
) -> Result<Session, Problem> {
    let record = &channel.record;
    let peer = record
        .peer
        .as_ref()
        .ok_or_else(|| Problem::token("token_missing", NO_TOKEN))?;
    let verified = gateway
        .custody
        .access
        .verify(token, record.profile, now)
        .map_err(|error| match error {
            // It is authentic, so its bearer may know; of any other fault nobody may learn more.
            TokenError::Claim(ClaimError::Expired { .. }) => ended(),
            _ => Problem::token("token_invalid", "the access token does not verify"),
        })?;
    let facts = Facts::agent(
        &verified,
        peer.spki_sha384.as_bytes(),
        channel_facts(channel),
    )
    .map_err(|wrong| Problem::token("wrong_key", wrong.to_string()))?;
    if verified.subject() != Some(peer.id.to_string().as_str()) {
        return Err(Problem::token(
            "wrong_subject",
            "the access token is another agent's",
        ));
    }
    let expires_at = verified.expires_at();
    // Verifying allows for two clocks; a session has its end by this one.
    if expires_at.is_some_and(|end| end <= now) {
        return Err(ended());
    }
    Ok(Session {
        facts: Arc::new(facts),
        expires_at,
    })
}

fn anonymous(channel: &LiveChannel) -> Result<Session, Problem> {
    if channel.record.kind == Some(Kind::Agent) {
        return Err(Problem::token(
            "certificate_required",
            "this channel has no client certificate, so it can enrol and nothing else",
        ));
    }
    Ok(channel.own_session(|| Session {
        facts: Arc::new(Facts::anonymous(channel_facts(channel))),
        expires_at: None,
    }))
}

/// The channel's facts for policy.
fn channel_facts(channel: &LiveChannel) -> ChannelFacts {
    let record = &channel.record;
    let negotiated = record.negotiated.as_ref();
    ChannelFacts {
        stage: record.stage.to_string(),
        profile: record.profile.to_string(),
        group: negotiated.map(|n| n.group.to_string()).unwrap_or_default(),
        signature_scheme: negotiated.map(|n| n.scheme.to_string()),
        suite: negotiated.map(|n| n.suite.to_string()).unwrap_or_default(),
        sni: record.offered.sni.clone(),
        source: record.peer_address.ip(),
        listener: record.listener.clone(),
        exception: record.exception.clone(),
    }
}

/// What one is told whose session has ended meanwhile.
pub(super) fn ended() -> Problem {
    Problem::token("token_expired", "the access token has expired")
}

/// The token of `Proxy-Authorization: Bearer …` (RFC 6750, section 2.1, in the proxy's header).
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, &'static str> {
    let mut values = headers.get_all(PROXY_AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err("there is more than one Proxy-Authorization header");
    }
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .ok_or("the Proxy-Authorization header is not `Bearer` and a token")?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(Some(token.trim()))
    } else {
        Err("the Proxy-Authorization scheme is not Bearer")
    }
}

const NO_TOKEN: &str = "an agent opens streams with an access token: get one by `POST /v1/token` and send it as `Proxy-Authorization: Bearer`";
