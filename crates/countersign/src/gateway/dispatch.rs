//! From a request on a channel to a permit, or to a refusal that says why.
//!
//! The steps stand in the order in which they must be taken: whose authority it is, who asks, which service, what policy
//! says. Nothing before the second tells a stranger which services exist.

use std::sync::Arc;

use countersign_channel::stage::Kind;
use countersign_policy::{Denial, Permit, Request};
use http::request::Parts;
use http::{Method, StatusCode};
use jiff::Timestamp;

use super::live::{LiveChannel, Session, decision_id};
use super::problem::Problem;
use super::services::Service;
use super::session::Asker;
use super::{Gateway, Running, session, target};
use crate::audit::Event;

/// A stream that may be opened.
pub(crate) struct Opening {
    /// The right to open it, once.
    pub(crate) permit: Permit,
    /// Where it goes.
    pub(crate) service: Arc<Service>,
    /// Who opens it, until when.
    pub(crate) session: Session,
    /// Whether the request's Authorization field was meant for the gateway: it must not reach the service.
    pub(crate) authorization_is_ours: bool,
}

/// What is asked for, before anybody has decided.
struct Question {
    asker: Asker,
    service: Option<Arc<Service>>,
    request: Request,
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
    let asker = session::of_request(gateway, channel, request, now)?;
    let running = gateway.running();
    let service = named(&running, channel, name, port)?;
    let question = Question::new(asker, service, (name, port), &Method::CONNECT);
    decide(gateway, channel, &running, question, now)
}

/// Decides on a request to a service by its host.
///
/// # Errors
///
/// As [`connect`].
pub(crate) fn request(
    gateway: &Gateway,
    channel: &LiveChannel,
    request: &Parts,
) -> Result<Opening, Problem> {
    let now = Timestamp::now();
    let authority = target::of_request(request)?;
    let asker = session::of_request(gateway, channel, request, now)
        .map_err(Problem::in_place_of_service)?;
    let running = gateway.running();
    let service = hosted(&running, channel, authority.host())?;
    let asked = (authority.host(), service.port);
    let question = Question::new(asker, Some(service), asked, &request.method);
    decide(gateway, channel, &running, question, now).map_err(Problem::in_place_of_service)
}

/// Decides on a request that came inside a tunnel to its service, by whoever opened the tunnel.
///
/// # Errors
///
/// As [`connect`].
pub(crate) fn inside(
    gateway: &Gateway,
    channel: &LiveChannel,
    (session, service): (&Session, &Arc<Service>),
    request: &Parts,
) -> Result<Opening, Problem> {
    let now = Timestamp::now();
    let authority = target::of_request(request)?;
    let running = gateway.running();
    let host = match target::is_here(authority.host()) {
        true => service.name.as_str(),
        false => authority.host(),
    };
    let hosted = running.services.by_host(host);
    let hosted = hosted.filter(|hosted| hosted.name == service.name);
    let hosted = hosted.ok_or_else(|| elsewhere(&service.name, host))?;
    let asker = session::of_inner_request(gateway, channel, session, request, now)
        .map_err(Problem::in_place_of_service)?;
    let asked = (host, hosted.port);
    let question = Question::new(asker, Some(Arc::clone(hosted)), asked, &request.method);
    decide(gateway, channel, &running, question, now).map_err(Problem::in_place_of_service)
}

impl Question {
    fn new(
        asker: Asker,
        service: Option<Arc<Service>>,
        (name, port): (&str, u16),
        method: &Method,
    ) -> Self {
        let name = service
            .as_ref()
            .map_or_else(|| name.to_ascii_lowercase(), |service| service.name.clone());
        Self {
            asker,
            service,
            request: Request {
                service: name,
                port,
                method: method.to_string(),
            },
        }
    }
}

fn decide(
    gateway: &Gateway,
    channel: &LiveChannel,
    running: &Running,
    question: Question,
    now: Timestamp,
) -> Result<Opening, Problem> {
    let Question {
        asker,
        service,
        request,
    } = question;
    let Asker {
        session,
        authorization_is_ours,
    } = asker;
    for_that_service(gateway, channel, &session, &request)?;
    let decided = running
        .policy
        .decide(&session.facts, &request, decision_id(), now);
    gateway.metrics.decided(decided.is_ok());
    let permit = decided.map_err(|denial| {
        gateway.custody.audit.record(Event::StreamDenied {
            channel: channel.id.to_string(),
            principal: session.principal(),
            service: request.service.clone(),
            rule: denial.rule().to_owned(),
            bundle: denial.bundle_revision().to_owned(),
            policy_revision: denial.policy_revision(),
            decision: denial.id().to_string(),
        });
        Problem::denied(refusal(&denial)).by(denial.id())
    })?;
    let service = service.ok_or_else(|| no_such_service(&request.service, request.port))?;
    // After the decision: only who may reach a service learns what else it wants.
    if !channel.shows_what_is_required(&service) {
        return Err(certificate_required(&service));
    }
    Ok(Opening {
        permit,
        service,
        session,
        authorization_is_ours,
    })
}

/// A bearer token opens the one service that it was issued for. Its holder may know which.
fn for_that_service(
    gateway: &Gateway,
    channel: &LiveChannel,
    session: &Session,
    request: &Request,
) -> Result<(), Problem> {
    match session.facts.only_service() {
        Some(service) if service != request.service => {
            let asked = &request.service;
            let detail = format!("the bearer token is for `{service}`, not for `{asked}`");
            let problem = Problem::token("token_service", detail);
            let id = session.facts.token_id();
            Err(session::refused(gateway, channel, id, problem))
        }
        _ => Ok(()),
    }
}

/// Why a request is refused; to a person, or a program that asks like one, with what is missing.
fn refusal(denial: &Denial) -> String {
    let Request {
        service, method, ..
    } = denial.request();
    if method == Method::CONNECT.as_str() || denial.rule() != NO_GRANT {
        return denial.to_string();
    }
    let principal = denial.facts().principal();
    format!(
        "{denial}; an operator allows it with `countersign grants add --principal {principal} --service {service}`"
    )
}

/// Which service the client of a CONNECT means, if it may mean that one on this channel.
///
/// None is for policy to refuse: a stranger hears the same of a service that is not there as of one that is not for him.
fn named(
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
        _ => Err(elsewhere(
            sni.unwrap_or("no server name"),
            &format!("{name}:{port}"),
        )),
    }
}

/// Which service a request's host stands for. Without an agent it is that of the server name (RFC 9110, section 7.4).
pub(super) fn hosted(
    running: &Running,
    channel: &LiveChannel,
    host: &str,
) -> Result<Arc<Service>, Problem> {
    let found = running.services.by_host(host);
    if channel.record.kind == Some(Kind::Agent) {
        let found = found.ok_or_else(|| Problem::misdirected(format!("`{host}` is no service")))?;
        return Ok(Arc::clone(found));
    }
    let sni = channel.record.offered.sni.as_deref();
    match (sni, found) {
        (Some(sni), Some(found)) if sni.eq_ignore_ascii_case(host) => Ok(Arc::clone(found)),
        _ => Err(elsewhere(sni.unwrap_or("no server name"), host)),
    }
}

fn certificate_required(service: &Service) -> Problem {
    let detail = format!(
        "`{}` wants a client certificate: connect to it by its own name, with one",
        service.name
    );
    Problem::new(StatusCode::FORBIDDEN, "certificate_required", detail)
}

fn no_such_service(name: &str, port: u16) -> Problem {
    Problem::misdirected(format!("there is no service `{name}:{port}`"))
}

fn elsewhere(opened_for: &str, asked: &str) -> Problem {
    Problem::misdirected(format!(
        "this channel was opened for `{opened_for}`, which does not stand for `{asked}`"
    ))
}

/// The rule of a denial that a grant would lift.
const NO_GRANT: &str = "no grant";
