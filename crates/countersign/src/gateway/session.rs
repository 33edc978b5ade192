//! Who asks: the session that a request speaks in.
//!
//! An agent's channel has one session, which each new access token prolongs. Without an agent each request stands for
//! itself: a bearer token before what the handshake showed, and that before nothing.

use std::sync::Arc;

use countersign_channel::stage::Kind;
use countersign_paseto::{ClaimError, TokenError};
use countersign_policy::{ChannelFacts, ClientCertificate, Facts, UnfitName};
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;

use super::live::{LiveChannel, Session};
use super::problem::Problem;
use super::{Gateway, appraise};
use crate::audit::Event;
use crate::bearer::{self, BearerTokens};

/// Who asks, and by what.
pub(super) struct Asker {
    pub(super) session: Session,
    /// Whether the Authorization field was meant for the gateway: it must not reach the service.
    pub(super) authorization_is_ours: bool,
}

/// A bearer token in a request, or why there is none to speak of.
type Shown<'a> = Result<Option<&'a str>, &'static str>;

/// Who asks by this request.
///
/// # Errors
///
/// What the client is to be told. A token that does not hold is in the audit trail by then.
pub(super) fn of_request(
    gateway: &Gateway,
    channel: &LiveChannel,
    request: &Parts,
    now: Timestamp,
) -> Result<Asker, Problem> {
    let headers = &request.headers;
    let to_service = in_authorization(&gateway.custody.bearers, headers);
    let authorization_is_ours = !matches!(to_service, Ok(None));
    let session = match channel.record.kind {
        Some(Kind::Agent) => of_agents_request(gateway, channel, headers, now)?,
        _ => {
            let shown = in_proxy_authorization(headers)
                .transpose()
                .or_else(|| to_service.transpose())
                .transpose();
            of_clients_request(gateway, channel, shown, now)?
        }
    };
    Ok(Asker {
        session,
        authorization_is_ours,
    })
}

/// Who asks by a request inside a tunnel that `outer` opened.
///
/// # Errors
///
/// As [`of_request`].
pub(super) fn of_inner_request(
    gateway: &Gateway,
    channel: &LiveChannel,
    outer: &Session,
    request: &Parts,
    now: Timestamp,
) -> Result<Asker, Problem> {
    let shown = in_authorization(&gateway.custody.bearers, &request.headers);
    let authorization_is_ours = !matches!(shown, Ok(None));
    let session = match (channel.record.kind, shown) {
        (Some(Kind::Agent), _) | (_, Ok(None)) => {
            let ended = || Problem::token("session_ended", ENDED);
            channel.newest(outer, now).ok_or_else(ended)?
        }
        (_, shown) => of_clients_request(gateway, channel, shown, now)?,
    };
    Ok(Asker {
        session,
        authorization_is_ours,
    })
}

/// An agent's session: by the token of this request if it has one, else the one that stands.
fn of_agents_request(
    gateway: &Gateway,
    channel: &LiveChannel,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Session, Problem> {
    let (Some(name), Some(peer)) = (channel.agent_name(), &channel.record.peer) else {
        return Err(Problem::token(
            "certificate_required",
            "this channel has no client certificate, so it can enrol and nothing else",
        ));
    };
    let refused = |problem| refused(gateway, channel, None, problem);
    // A token outlives the revocation of its agent: the key is asked for each stream.
    let snapshot = gateway.custody.state.snapshot();
    if let Err(shut_out) = snapshot.admit(name, &peer.spki_sha384, now) {
        let (code, detail) = (shut_out.code(), shut_out.to_string());
        return Err(refused(Problem::new(StatusCode::FORBIDDEN, code, detail)));
    }
    let missing = || refused(Problem::token("token_missing", NO_TOKEN));
    match in_proxy_authorization(headers) {
        Err(detail) => Err(refused(Problem::token("token_malformed", detail))),
        Ok(None) => channel.session(now).ok_or_else(missing),
        Ok(Some(token)) => match channel.session_of_token(token, now) {
            Some(session) => Ok(session),
            None => {
                let session = of_agent(gateway, channel, token, now).map_err(refused)?;
                channel.remember_token(token, session.clone());
                channel.set_session(session.clone());
                Ok(session)
            }
        },
    }
}

/// The session of a client without an agent.
fn of_clients_request(
    gateway: &Gateway,
    channel: &LiveChannel,
    shown: Shown<'_>,
    now: Timestamp,
) -> Result<Session, Problem> {
    let refused = |id: Option<&str>, problem| refused(gateway, channel, id, problem);
    match shown {
        Err(detail) => Err(refused(None, Problem::token("token_malformed", detail))),
        Ok(Some(token)) => of_bearer(gateway, channel, token, now),
        Ok(None) => of_handshake(channel)
            .map(|session| channel.newest(&session, now))?
            .ok_or_else(|| {
                Problem::token(
                    "certificate_ended",
                    "the client certificate has ended: connect again with another",
                )
            }),
    }
}

/// The session of a client that shows nothing but what it showed in the handshake.
fn of_handshake(channel: &LiveChannel) -> Result<Session, Problem> {
    channel.own_session(|| {
        let Some(client) = channel.client() else {
            return Ok(Session {
                facts: Arc::new(Facts::anonymous(channel_facts(channel))),
                expires_at: None,
            });
        };
        let certificate = ClientCertificate {
            authority: client.authority(),
            name: client.name(),
            not_after: client.not_after(),
        };
        let facts = Facts::certificate(certificate, channel_facts(channel));
        let unfit =
            |error: UnfitName| Problem::new(StatusCode::FORBIDDEN, "unfit_name", error.to_string());
        Ok(Session {
            facts: Arc::new(facts.map_err(unfit)?),
            expires_at: Some(client.not_after()),
        })
    })
}

/// The session that a bearer token gives. It is asked each time whether the token still stands.
fn of_bearer(
    gateway: &Gateway,
    channel: &LiveChannel,
    token: &str,
    now: Timestamp,
) -> Result<Session, Problem> {
    let unfit = |id: Option<&str>, code, detail| {
        refused(gateway, channel, id, Problem::token(code, detail))
    };
    let session = match channel.session_of_token(token, now) {
        Some(session) => session,
        None => {
            let bearers = &gateway.custody.bearers;
            let verified = bearers
                .verify(token, channel.record.profile, now)
                .map_err(|why| unfit(None, why.code(), why.to_string()))?;
            let facts = Facts::bearer(&verified, channel_facts(channel))
                .map_err(|why| unfit(verified.token_id(), "token_invalid", why.to_string()))?;
            let session = Session {
                facts: Arc::new(facts),
                expires_at: verified.expires_at(),
            };
            channel.remember_token(token, session.clone());
            session
        }
    };
    let id = session.facts.token_id();
    bearer::standing(&gateway.custody.state.snapshot(), id.unwrap_or_default())
        .map_err(|why| unfit(id, why.code(), why.to_string()))?;
    Ok(session)
}

/// Writes down that a token was refused, and gives what the client is told.
pub(super) fn refused(
    gateway: &Gateway,
    channel: &LiveChannel,
    token_id: Option<&str>,
    problem: Problem,
) -> Problem {
    gateway.custody.audit.record(Event::TokenRefused {
        reason: problem.detail.clone(),
        token_id: token_id.map(str::to_owned),
        channel: Some(channel.id.to_string()),
        peer: channel.record.peer_address,
    });
    problem
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
            TokenError::Claim(ClaimError::Expired { .. }) => expired(),
            _ => Problem::token("token_invalid", "the access token does not verify"),
        })?;
    let facts = Facts::agent(
        &verified,
        peer.spki_sha384.as_bytes(),
        channel_facts(channel),
    )
    .map_err(|wrong| Problem::token("wrong_key", wrong.to_string()))?;
    if let Some(appraisal) = facts.appraisal() {
        appraise::check_stage(gateway, channel, appraisal)?;
    }
    if verified.subject() != Some(peer.id.to_string().as_str()) {
        return Err(Problem::token(
            "wrong_subject",
            "the access token is another agent's",
        ));
    }
    let expires_at = verified.expires_at();
    // Verifying allows for two clocks; a session has its end by this one.
    if expires_at.is_some_and(|end| end <= now) {
        return Err(expired());
    }
    Ok(Session {
        facts: Arc::new(facts),
        expires_at,
    })
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

fn expired() -> Problem {
    Problem::token("token_expired", "the access token has expired")
}

/// The token of `Proxy-Authorization: Bearer …` (RFC 6750, section 2.1, in the proxy's header).
fn in_proxy_authorization(headers: &HeaderMap) -> Shown<'_> {
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

/// The token of `Authorization: Bearer …`, if it is one of ours; any other is the service's to read.
///
/// A token of ours in any other shape is an error, since passed on it would be in the hands of the service.
fn in_authorization<'a>(bearers: &BearerTokens, headers: &'a HeaderMap) -> Shown<'a> {
    let values = headers.get_all(AUTHORIZATION);
    if !values.iter().any(|value| holds_ours(bearers, value)) {
        return Ok(None);
    }
    if values.iter().count() > 1 {
        return Err("there is more than one Authorization header");
    }
    let value = values.iter().next().and_then(|value| value.to_str().ok());
    let (scheme, token) = value
        .and_then(|value| value.split_once(' '))
        .ok_or(NOT_BEARER)?;
    if scheme.eq_ignore_ascii_case("bearer") && bearers.owns(token.trim()) {
        Ok(Some(token.trim()))
    } else {
        Err(NOT_BEARER)
    }
}

fn holds_ours(bearers: &BearerTokens, value: &HeaderValue) -> bool {
    let words = value.as_bytes().split(|byte| !is_token_byte(*byte));
    words
        .filter_map(|word| std::str::from_utf8(word).ok())
        .any(|word| bearers.owns(word))
}

/// What a PASETO is written with: base64url and dots.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

const NOT_BEARER: &str = "the Authorization header is not `Bearer` and a token";
const ENDED: &str = "what opened this tunnel has ended";
const NO_TOKEN: &str = "an agent opens streams with an access token: get one by `POST /v1/token` and send it as `Proxy-Authorization: Bearer`";
