//! The agents' API on the gateway's own authority: bundle, identity keys, enrolment, renewal, tokens, services.

use std::sync::Arc;

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::live::LiveChannel;
use super::problem::Problem;
use super::{Gateway, identity_keys, session};
use crate::access::{AccessToken, Holder};
use crate::enrolment::{Admission, EnrolRefusal, EnrolRequest, RenewRefusal};

/// Answers a request for the gateway itself.
///
/// # Errors
///
/// What the client is to be told instead.
pub(super) async fn answer(
    gateway: &Gateway,
    channel: &Arc<LiveChannel>,
    request: &Parts,
    body: &Bytes,
) -> Result<Response<Bytes>, Problem> {
    match (&request.method, request.uri.path()) {
        (&Method::GET, "/.well-known/countersign/bundle") => Ok(bundle(gateway)),
        _ if identity_keys::are_asked_for(request) => Ok(identity_keys::answer(gateway)),
        (&Method::POST, "/v1/enrol") => enrol(gateway, channel, read(body)?).await,
        (&Method::POST, "/v1/renew") => renew(gateway, channel, read(body)?).await,
        (&Method::POST, "/v1/token") => token(gateway, channel),
        (&Method::GET, "/v1/services") => services(gateway, channel),
        (_, path) => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("there is no `{} {path}`", request.method),
        )),
    }
}

#[derive(Deserialize)]
struct EnrolBody {
    join_token: String,
    certificate_request: String,
    now: Timestamp,
}

#[derive(Deserialize)]
struct RenewBody {
    certificate_request: String,
}

#[derive(Serialize)]
struct AdmissionBody<'a> {
    svid: Vec<String>,
    bundle: &'a serde_json::value::RawValue,
    access_token: &'a str,
    access_token_expires_at: Timestamp,
}

#[derive(Serialize)]
struct TokenBody<'a> {
    access_token: &'a str,
    access_token_expires_at: Timestamp,
}

#[derive(Serialize)]
struct ServiceBody<'a> {
    name: &'a str,
    port: u16,
}

/// The signed trust bundle: public, and the same for everyone.
fn bundle(gateway: &Gateway) -> Response<Bytes> {
    let document = gateway.custody.authority.trust().signed().to_json();
    json(Bytes::from(document))
}

async fn enrol(
    gateway: &Gateway,
    channel: &Arc<LiveChannel>,
    body: EnrolBody,
) -> Result<Response<Bytes>, Problem> {
    let certificate_request = decode(&body.certificate_request)?;
    let request = EnrolRequest {
        join_token: &body.join_token,
        certificate_request: &certificate_request,
        agent_time: body.now,
        peer: channel.record.peer_address,
        profile: channel.record.profile,
    };
    let outcome = gateway
        .custody
        .enrolment
        .enrol(request, Timestamp::now())
        .await;
    gateway.metrics.enrolled(
        outcome
            .as_ref()
            .map_or_else(EnrolRefusal::code, |_| "allowed"),
    );
    let admission = outcome.map_err(|refusal| {
        Problem::new(
            status(refusal.status()),
            refusal.code(),
            refusal.to_string(),
        )
    })?;
    tracing::info!(agent = admission.name, "an agent has joined");
    admitted(&admission)
}

async fn renew(
    gateway: &Gateway,
    channel: &Arc<LiveChannel>,
    body: RenewBody,
) -> Result<Response<Bytes>, Problem> {
    let certificate_request = decode(&body.certificate_request)?;
    let outcome = gateway
        .custody
        .enrolment
        .renew(holder(channel)?, &certificate_request, Timestamp::now())
        .await;
    let admission = outcome.map_err(|refusal| shut_out(&refusal))?;
    keep_session(gateway, channel, &admission.access_token);
    admitted(&admission)
}

fn token(gateway: &Gateway, channel: &Arc<LiveChannel>) -> Result<Response<Bytes>, Problem> {
    let minted = gateway
        .custody
        .enrolment
        .access_token(holder(channel)?, Timestamp::now());
    let token = minted.map_err(|refusal| shut_out(&refusal))?;
    keep_session(gateway, channel, &token);
    Ok(body(&TokenBody {
        access_token: token.expose_secret(),
        access_token_expires_at: token.expires_at,
    }))
}

fn services(gateway: &Gateway, channel: &LiveChannel) -> Result<Response<Bytes>, Problem> {
    let agent = holder(channel)?;
    let snapshot = gateway.custody.state.snapshot();
    let name = agent.id.agent_name().unwrap_or_default();
    if let Err(shut_out) = snapshot.admit(name, agent.key, Timestamp::now()) {
        let detail = shut_out.to_string();
        return Err(Problem::new(StatusCode::FORBIDDEN, shut_out.code(), detail));
    }
    let running = gateway.running();
    let services: Vec<_> = running
        .services
        .all()
        .into_iter()
        .map(|service| ServiceBody {
            name: &service.name,
            port: service.port,
        })
        .collect();
    Ok(body(&serde_json::json!({ "services": services })))
}

/// The agent of this channel, by the certificate that it proved in the handshake.
fn holder(channel: &LiveChannel) -> Result<Holder<'_>, Problem> {
    let peer = channel.record.peer.as_ref().ok_or_else(|| {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "certificate_required",
            "this call takes a channel with the agent's certificate",
        )
    })?;
    Ok(Holder {
        id: &peer.id,
        key: &peer.spki_sha384,
        profile: channel.record.profile,
    })
}

/// A token that was minted on a channel for the channel's own key is in force on it at once.
fn keep_session(gateway: &Gateway, channel: &LiveChannel, token: &AccessToken) {
    if let Ok(session) =
        session::of_agent(gateway, channel, token.expose_secret(), Timestamp::now())
    {
        channel.remember_token(token.expose_secret(), session.clone());
        channel.set_session(session);
    }
}

fn shut_out(refusal: &RenewRefusal) -> Problem {
    Problem::new(
        status(refusal.status()),
        refusal.code(),
        refusal.to_string(),
    )
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn admitted(admission: &Admission) -> Result<Response<Bytes>, Problem> {
    let bundle = serde_json::value::RawValue::from_string(admission.bundle.signed().to_json())
        .map_err(|error| {
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "bundle",
                error.to_string(),
            )
        })?;
    Ok(body(&AdmissionBody {
        svid: admission
            .svid
            .iter()
            .map(|der| Base64::encode_string(der))
            .collect(),
        bundle: &bundle,
        access_token: admission.access_token.expose_secret(),
        access_token_expires_at: admission.access_token.expires_at,
    }))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body)
        .map_err(|error| Problem::malformed(format!("the body is not what is expected: {error}")))
}

fn decode(certificate_request: &str) -> Result<Vec<u8>, Problem> {
    Base64::decode_vec(certificate_request)
        .map_err(|_| Problem::malformed("`certificate_request` is not base64"))
}

fn body(value: &impl Serialize) -> Response<Bytes> {
    let text = serde_json::to_vec(value).expect("strings, numbers and times are always JSON");
    json(Bytes::from(text))
}

/// What is answered may hold a token: nothing on the way keeps it.
fn json(text: Bytes) -> Response<Bytes> {
    let mut response = Response::new(text);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
