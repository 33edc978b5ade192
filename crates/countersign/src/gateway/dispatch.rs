//! From a request on a channel to a permit, or to a refusal that says why.
//!
//! The steps stand in the order in which they must be taken: whose authority it is, who asks, which service, what policy
//! says. Nothing before the second tells a stranger which services exist.

use std::sync::Arc;

use countersign_channel::stage::Kind;
use countersign_paseto::{ClaimError, TokenError};
use countersign_policy::{ChannelFacts, Facts, Permit, Request};
use http::header::PROXY_AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;

use super::live::{LiveChannel, Session, decision_id};
use super::problem::Problem;
use super::services::Service;
use super::{Gateway, Running, target};
use crate::audit::Event;

/// A stream that may be opened.
pub(crate) struct Opening {
    /// The right to open it, once.
    pub(crate) permit: Permit,
    /// Where it goes.
    pub(crate) service: Arc<Service>,
}

/// Decides on a CONNECT.
///
/// # Errors
///
/// What the client is to be told. Denials and bad tokens are in the audit trail by then.
pub(crate) fn connect(
    gateway: &Gateway,
    channel: &LiveChannel,
    request: &Parts,
) -> Result<Opening, Problem> {
    let now = Timestamp::now();
    let (name, port) = target::of_connect(request)?;
    let session = session(gateway, channel, &request.headers, now)?;
    let running = gateway.running();
    let service = service(&running, channel, name, port)?;
    let request = Request {
        service: service
            .as_ref()
            .map_or_else(|| name.to_ascii_lowercase(), |service| service.name.clone()),
        port,
        method: Method::CONNECT.to_string(),
    };
    match running
        .policy
        .decide(&session.facts, &request, decision_id(), now)
    {
        Ok(permit) => {
            gateway.metrics.decided(true);
            let service = service.ok_or_else(|| no_such_service(name, port))?;
            Ok(Opening { permit, service })
        }
        Err(denial) => {
            gateway.metrics.decided(false);
            gateway.custody.audit.record(Event::StreamDenied {
                channel: channel.id.to_string(),
                principal: channel.principal(),
                service: request.service,
                rule: denial.rule().to_owned(),
                bundle: denial.bundle_revision().to_owned(),
                policy_revision: denial.policy_revision(),
                decision: denial.id().to_string(),
            });
            Err(Problem::denied(denial.to_string()))
        }
    }
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

/// Who asks: the token of this request if it has one, else the session that stands.
fn session(
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
                let session = session_of(gateway, channel, token, now).map_err(refused)?;
                channel.remember_token(token, session.clone());
                Ok(session)
            }
        },
    }
}

fn anonymous(channel: &LiveChannel) -> Result<Session, Problem> {
    if channel.record.kind == Some(Kind::Agent) {
        return Err(Problem::token(
            "certificate_required",
            "this channel has no client certificate, so it can enrol and nothing else",
        ));
    }
    let facts = Arc::new(Facts::anonymous(channel_facts(channel)));
    let session = Session {
        facts,
        expires_at: None,
    };
    channel.set_session(session.clone());
    Ok(session)
}

/// The session that an access token gives on a channel: it must be the channel's agent's, bound to the key that the
/// channel proved.
pub(super) fn session_of(
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

fn expired() -> Problem {
    Problem::token("token_expired", "the access token has expired")
}

/// Which service the client means, if it may mean that one on this channel.
///
/// None is for policy to refuse: a stranger hears the same of a service that is not there as of one that is not for him.
fn service(
    running: &Running,
    channel: &LiveChannel,
    name: &str,
    port: u16,
) -> Result<Option<Arc<Service>>, Problem> {
    let found = running.services.find(name, port);
    if channel.record.kind == Some(Kind::Agent) {
        let found = found.ok_or_else(|| no_such_service(name, port))?;
        return Ok(Some(Arc::clone(found)));
    }
    let sni = channel.record.offered.sni.as_deref();
    match (sni.and_then(|sni| running.services.by_sni(sni)), found) {
        (Some(of_sni), Some(found)) if Arc::ptr_eq(of_sni, found) => Ok(Some(Arc::clone(found))),
        // An exception was judged by the server name: the channel must not reach what that name does not stand for.
        (None, found) if channel.record.exception.is_none() => Ok(found.cloned()),
        _ => Err(Problem::misdirected(format!(
            "this channel was opened for `{}`, which does not stand for `{name}:{port}`",
            sni.unwrap_or("no server name"),
        ))),
    }
}

fn no_such_service(name: &str, port: u16) -> Problem {
    Problem::misdirected(format!("there is no service `{name}:{port}`"))
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
