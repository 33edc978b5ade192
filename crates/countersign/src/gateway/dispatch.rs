//! From a request on a channel to a permit, or to a refusal that says why.
//!
//! The steps stand in the order in which they must be taken: whose authority it is, who asks, which service, what policy
//! says. Nothing before the second tells a stranger which services exist.

use std::sync::Arc;

use countersign_channel::stage::Kind;
use countersign_policy::{ChannelFacts, Facts, Permit, Request};
use http::header::PROXY_AUTHORIZATION;
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;

use super::live::{LiveChannel, Session, decision_id};
use super::problem::Problem;
use super::services::Service;
use super::{Gateway, Running};
use crate::audit::Event;

/// A stream that may be opened.
pub(crate) struct Opening {
    /// The right to open it, once.
    pub(crate) permit: Permit,
    /// Where it goes.
    pub(crate) service: Arc<Service>,
}

/// Decides on `CONNECT authority`.
///
/// # Errors
///
/// What the client is to be told. Denials and bad tokens are in the audit trail by then.
pub(crate) fn connect(
    gateway: &Gateway,
    channel: &LiveChannel,
    authority: &Authority,
    headers: &HeaderMap,
) -> Result<Opening, Problem> {
    let now = Timestamp::now();
    let (name, port) = name_and_port(authority)?;
    let session = session(gateway, channel, headers, now)?;
    let running = gateway.running();
    let service = service(&running, channel, name, port)?;
    let request = Request {
        service: service.name.clone(),
        port,
        method: Method::CONNECT.to_string(),
    };
    match running
        .policy
        .decide(&session.facts, &request, decision_id(), now)
    {
        Ok(permit) => {
            gateway.metrics.decided(true);
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

/// `name:port`; RFC 9110, section 9.3.6, wants the port.
fn name_and_port(authority: &Authority) -> Result<(&str, u16), Problem> {
    if authority.as_str().contains('@') {
        return Err(Problem::malformed(
            "a CONNECT authority has no user information",
        ));
    }
    let port = authority.port_u16().ok_or_else(|| {
        Problem::malformed(format!(
            "`{authority}` lacks its port; the authority of CONNECT is `service:port`"
        ))
    })?;
    Ok((authority.host(), port))
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
    // A token outlives the revocation of its agent: the key is asked for each stream.
    let snapshot = gateway.custody.state.snapshot();
    if let Err(shut_out) = snapshot.admit(name, &peer.spki_sha384, now) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            shut_out.code(),
            shut_out.to_string(),
        ));
    }
    let refused = |problem: Problem| {
        gateway.custody.audit.record(Event::TokenRefused {
            reason: problem.detail.clone(),
            channel: Some(channel.id.to_string()),
            peer: channel.record.peer_address,
        });
        problem
    };
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
        .map_err(|error| Problem::token("token_invalid", error.for_peer()))?;
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
    Ok(Session {
        facts: Arc::new(facts),
        expires_at: verified.expires_at(),
    })
}

/// Which service the client means, if it may mean that one on this channel.
fn service(
    running: &Running,
    channel: &LiveChannel,
    name: &str,
    port: u16,
) -> Result<Arc<Service>, Problem> {
    let service = running
        .services
        .find(name, port)
        .ok_or_else(|| Problem::misdirected(format!("there is no service `{name}:{port}`")))?;
    if channel.record.kind == Some(Kind::Agent) {
        return Ok(Arc::clone(service));
    }
    let sni = channel.record.offered.sni.as_deref();
    match sni.and_then(|sni| running.services.by_sni(sni)) {
        Some(of_sni) if Arc::ptr_eq(of_sni, service) => Ok(Arc::clone(service)),
        // An exception was judged by the server name: the channel must not reach what that name does not stand for.
        None if channel.record.exception.is_none() => Ok(Arc::clone(service)),
        _ => Err(Problem::misdirected(format!(
            "this channel was opened for `{}`, which does not stand for service `{name}`",
            sni.unwrap_or("no server name"),
        ))),
    }
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
