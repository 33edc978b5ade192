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

use super::live::{CutReason, LiveChannel};
use super::problem::Problem;
use super::{Gateway, appraise, attest, identity_keys, session};
use crate::access::{AccessToken, Holder};
use crate::attestation::wire::TokenRequest;
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
        (&Method::POST, "/v1/enrol/tpm") => attest::show_tpm(gateway, channel, read(body)?).await,
        (&Method::POST, "/v1/enrol/tpm/activate") => {
            attest::activate_tpm(gateway, channel, read(body)?).await
        }
        (&Method::POST, "/v1/attest") => attest::question(gateway, channel),
        (&Method::POST, "/v1/renew") => renew(gateway, channel, read(body)?).await,
        (&Method::POST, "/v1/token") => token(gateway, channel, read_or_default(body)?).await,
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
    #[serde(flatten)]
    access_token: Option<TokenBody<'a>>,
}

#[derive(Serialize)]
struct TokenBody<'a> {
    access_token: &'a str,
    access_token_expires_at: Timestamp,
}

impl<'a> TokenBody<'a> {
    fn of(token: &'a AccessToken) -> Self {
        Self {
            access_token: token.expose_secret(),
            access_token_expires_at: token.expires_at,
        }
    }
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
        join_token: Some(&body.join_token),
        tpm: None,
        certificate_request: &certificate_request,
        agent_time: body.now,
        peer: channel.record.peer_address,
        profile: channel.record.profile,
    };
    enrolled(gateway, request, Timestamp::now()).await
}

/// Lets a machine in and answers with what it gets.
///
/// # Errors
///
/// What the agent is to be told.
pub(super) async fn enrolled(
    gateway: &Gateway,
    request: EnrolRequest<'_>,
    now: Timestamp,
) -> Result<Response<Bytes>, Problem> {
    let outcome = gateway.custody.enrolment.enrol(request, now).await;
    gateway.metrics.enrolled(
        outcome
            .as_ref()
            .map_or_else(EnrolRefusal::code, |_| "allowed"),
    );
    let admission = outcome.map_err(|refusal| enrol_refused(&refusal))?;
    tracing::info!(agent = admission.name, "an agent has joined");
    admitted(&admission)
}

/// What an agent is told that does not come in.
pub(super) fn enrol_refused(refusal: &EnrolRefusal) -> Problem {
    Problem::new(
        status(refusal.status()),
        refusal.code(),
        refusal.to_string(),
    )
}

async fn renew(
    gateway: &Gateway,
    channel: &Arc<LiveChannel>,
    body: RenewBody,
) -> Result<Response<Bytes>, Problem> {
    let certificate_request = decode(&body.certificate_request)?;
    let (holder, now) = (holder(channel)?, Timestamp::now());
    let found = channel.session(now);
    let found = found.and_then(|session| session.facts.appraisal().cloned());
    let enrolment = &gateway.custody.enrolment;
    let outcome = enrolment.renew(holder, &certificate_request, found, now);
    let admission = outcome.await.map_err(|refusal| shut_out(&refusal))?;
    if let Some(token) = &admission.access_token {
        keep_session(gateway, channel, token);
    }
    admitted(&admission)
}

/// A token says what was found of the machine when it was asked for; the streams that are open are judged by it.
async fn token(
    gateway: &Gateway,
    channel: &Arc<LiveChannel>,
    request: TokenRequest,
) -> Result<Response<Bytes>, Problem> {
    let (agent, now) = (holder(channel)?, Timestamp::now());
    let appraisal = appraise::appraise(gateway, channel, request.evidence, now).await?;
    let minted = gateway
        .custody
        .enrolment
        .access_token(agent, appraisal.clone(), now);
    let token = minted.map_err(|refusal| shut_out(&refusal))?;
    keep_session(gateway, channel, &token);
    let channels = gateway.live.channels().into_iter();
    for other in channels.filter(|other| other.agent_name() == channel.agent_name()) {
        other.end_other_session(&appraisal, &CutReason::MachineChanged);
    }
    let snapshot = gateway.custody.state.snapshot();
    channel.decide_again(&gateway.running(), &snapshot, now);
    Ok(body(&TokenBody::of(&token)))
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
pub(super) fn holder(channel: &LiveChannel) -> Result<Holder<'_>, Problem> {
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

pub(super) fn admitted(admission: &Admission) -> Result<Response<Bytes>, Problem> {
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
        access_token: admission.access_token.as_ref().map(TokenBody::of),
    }))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body)
        .map_err(|error| Problem::malformed(format!("the body is not what is expected: {error}")))
}

/// No body at all asks for nothing in particular.
fn read_or_default<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Problem> {
    match body {
        [] => Ok(T::default()),
        body => read(body),
    }
}

fn decode(certificate_request: &str) -> Result<Vec<u8>, Problem> {
    Base64::decode_vec(certificate_request)
        .map_err(|_| Problem::malformed("`certificate_request` is not base64"))
}

pub(super) fn body(value: &impl Serialize) -> Response<Bytes> {
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
