//! One request to an HTTP service, from its head to the end of its answer; the same on HTTP/1.1, on HTTP/2 and inside a
//! tunnel.
//!
//! The head is judged, then decided on; what it says of the client is cleaned and set; the body follows as the service
//! asks for it, and the answer as the client does. What fails on one side fails on the other.

mod body;
mod fields;
mod head;
mod reply;
mod websocket;

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Request, Response, Uri};
use jiff::Timestamp;

use self::body::{BodyLimits, BodyWatch};
use self::fields::Provenance;
use self::head::Head;
use self::websocket::{Handshake, Met};
use super::client::Client;
use super::dispatch::Opening;
use super::entry::{Entry, Over, unavailable};
use super::problem::Problem;
use super::services::Service;
use super::target;
use super::upstream::{Answer, HttpService};

pub(crate) use self::body::{Body, BodyFault};
pub(crate) use self::head::HeadLimits;
pub(crate) use self::reply::{ReplyBody, whole};
pub(crate) use self::websocket::{Switch, websocket_accept};

/// What came of a request.
pub(crate) enum Outcome {
    /// The service's answer. When `over` is ready it must be broken off, whether the client reads it or not.
    Reply {
        response: Response<ReplyBody>,
        over: Over,
    },
    /// The service switched to WebSocket; what the client is told, and what is carried then.
    Switch {
        response: Response<()>,
        switch: Switch,
    },
}

/// Decides on a request, hands it to its service and waits for the head of the answer. Dropping the future takes the
/// request back.
///
/// # Errors
///
/// What the client is to be told instead.
pub(crate) async fn serve(
    client: &Client,
    mut request: Parts,
    body: Body,
) -> Result<Outcome, Problem> {
    let limits = client.limits();
    let head = Head::read(&request, limits.head)?;
    let opening = client.decide(&request)?;
    let http = http_service(&opening)?;
    check_length(&head, &http)?;
    let host = Host::of(&request, &opening.service)?;
    if opening.authorization_is_ours {
        request.headers.remove(AUTHORIZATION);
    }
    let (mut entry, permit) = Entry::new(&client.gateway, &client.channel, opening)?;
    let identity = identity(&entry).await?;
    let handshake = head.websocket.then(|| Handshake::begin(&request));
    let request = prepare(client, request, &host, identity, handshake.as_ref());
    let counters = Arc::clone(&entry.stream().counters);
    let body_limits = BodyLimits {
        size: http.max_request_body(),
        wait: limits.body_wait,
    };
    let (body, watch) = body.watched(body_limits, counters, fields::clean_trailers);
    entry.opened();
    let mut over = entry.over();
    let answered = tokio::select! {
        biased;
        () = &mut over => return Err(entry.cut_early()),
        answered = http.send(&permit, request.map(|()| body)) => answered,
    };
    let answer = match answered {
        Ok(answer) => answer,
        Err(error) => {
            let problem = error.problem();
            entry.unanswered(&problem);
            return Err(problem);
        }
    };
    entry.stream().reached(&answer.hop);
    watch.answered();
    match handshake.map(|handshake| handshake.meet(answer.response.status())) {
        Some(Met::Switched(handshake)) => handshake.finish(entry, answer).await,
        Some(Met::Misunderstood) => Err(websocket::misunderstood(entry)),
        Some(Met::Declined) | None => Ok(reply(entry, answer, watch, over)),
    }
}

/// The host that was asked for, and the one that the service hears.
struct Host {
    asked: Authority,
    given: Authority,
}

impl Host {
    /// Inside a tunnel a client may have asked for its own end of it, as `localhost:8080`: the service is not called that.
    fn of(request: &Parts, service: &Service) -> Result<Self, Problem> {
        let asked = target::of_request(request)?;
        let given = match target::is_here(asked.host()) {
            true => service.host(),
            false => asked.clone(),
        };
        Ok(Self { asked, given })
    }
}

fn http_service(opening: &Opening) -> Result<HttpService, Problem> {
    let service = &opening.service;
    service.http.clone().ok_or_else(|| {
        let (name, port) = (&service.name, service.port);
        Problem::misdirected(format!(
            "`{name}` is no HTTP service; reach it by `CONNECT {name}:{port}`"
        ))
    })
}

/// The signed word on who asks, for this service.
async fn identity(entry: &Entry) -> Result<HeaderValue, Problem> {
    let (channel, tokens) = (entry.channel(), &entry.gateway().custody.identity);
    let (service, session) = (&entry.service().name, &entry.stream().session);
    let token = channel.identity_token(tokens, service, session, Timestamp::now());
    token.await.map_err(|error| {
        tracing::error!(%error, "a request is refused for want of an identity token");
        let detail = "the gateway cannot sign who you are for the service just now";
        unavailable("identity_unavailable", detail)
    })
}

fn check_length(head: &Head, http: &HttpService) -> Result<(), Problem> {
    match (head.length, http.max_request_body()) {
        (Some(length), Some(limit)) if length > limit => {
            Err(BodyFault::TooLarge { limit }.problem())
        }
        _ => Ok(()),
    }
}

/// The request as the service gets it: its target a path, its fields cleaned and set.
fn prepare(
    client: &Client,
    request: Parts,
    host: &Host,
    identity: HeaderValue,
    handshake: Option<&Handshake>,
) -> Request<()> {
    let mut sent = Request::new(());
    let mut fields = request.headers;
    fields::clean_request(&mut fields);
    let provenance = Provenance {
        client: client.channel.record.peer_address.ip(),
        asked: &host.asked,
        host: &host.given,
        version: request.version,
        identity,
    };
    fields::set_provenance(&mut fields, provenance);
    match handshake {
        Some(handshake) => handshake.ask(&mut fields),
        None => *sent.method_mut() = request.method,
    }
    *sent.headers_mut() = fields;
    *sent.uri_mut() = request
        .uri
        .into_parts()
        .path_and_query
        .map_or_else(Uri::default, Uri::from);
    sent
}

fn reply(entry: Entry, answer: Answer, watch: BodyWatch, over: Over) -> Outcome {
    let (head, body) = answer.response.into_parts();
    let mut response = Response::new(ReplyBody::passing(body, entry, watch));
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    fields::clean_response(response.headers_mut());
    Outcome::Reply { response, over }
}
