//! The gateway's control API, from the agent's end: JSON over the channel, errors as RFC 9457 problems.

use std::fmt;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use countersign_channel::identity::{SignedTrustBundle, TrustDomain};
use countersign_channel::tunnel::{Mux, RequestError};
use http::header::{CONTENT_TYPE, HeaderValue, PROXY_AUTHORIZATION};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::attestation::wire::{
    ActivateTpm, Evidence, Question, ShowTpm, TokenRequest, TpmChallenge,
};
use crate::join_string::JoinToken;

/// The control API of the gateway at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Control<'a> {
    mux: &'a Mux,
    trust_domain: &'a TrustDomain,
}

/// What an agent gets when it enrols or renews.
#[derive(Debug)]
pub(crate) struct Issued {
    /// The certificate chain, leaf first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// The trust domain's bundle, unverified.
    pub(crate) bundle: SignedTrustBundle,
}

/// A service that the gateway knows.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub(crate) struct Service {
    /// Its name.
    pub(crate) name: String,
    /// The port it declares.
    pub(crate) port: u16,
}

impl<'a> Control<'a> {
    /// The control API that this connection reaches.
    pub(crate) fn new(mux: &'a Mux, trust_domain: &'a TrustDomain) -> Self {
        Self { mux, trust_domain }
    }

    /// Enrols a key with a join token.
    ///
    /// # Errors
    ///
    /// There is no answer, or the gateway refuses, with a code that says why.
    pub(crate) async fn enrol(
        self,
        token: &JoinToken,
        certificate_request: &[u8],
        now: Timestamp,
    ) -> Result<Issued, ControlError> {
        let body = Enrol {
            join_token: token.expose_secret(),
            certificate_request: Base64::encode_string(certificate_request),
            now,
        };
        self.post::<IssuedBody>(ENROL, &body).await?.try_into()
    }

    /// Shows the machine's TPM, and gets a credential that only it can open.
    ///
    /// # Errors
    ///
    /// There is no answer, or the gateway refuses, with a code that says why.
    pub(crate) async fn show_tpm(self, tpm: &ShowTpm) -> Result<TpmChallenge, ControlError> {
        self.post(SHOW_TPM, tpm).await
    }

    /// Enrols a key with what proves that the TPM opened the credential.
    ///
    /// # Errors
    ///
    /// There is no answer, or the gateway refuses, with a code that says why.
    pub(crate) async fn activate_tpm(self, proof: &ActivateTpm) -> Result<Issued, ControlError> {
        self.post::<IssuedBody>(ACTIVATE_TPM, proof)
            .await?
            .try_into()
    }

    /// Asks what the machine is to quote.
    ///
    /// # Errors
    ///
    /// There is no answer, or the gateway refuses.
    pub(crate) async fn question(self) -> Result<Question, ControlError> {
        self.post(ATTEST, &serde_json::json!({})).await
    }

    /// Renews the certificate of the agent that this channel is authenticated as.
    ///
    /// # Errors
    ///
    /// There is no answer, or the gateway refuses.
    pub(crate) async fn renew(self, certificate_request: &[u8]) -> Result<Issued, ControlError> {
        let body = Renew {
            certificate_request: Base64::encode_string(certificate_request),
        };
        self.post::<IssuedBody>(RENEW, &body).await?.try_into()
    }

    /// Fetches an access token, which also keeps this channel's streams alive, for what the machine shows.
    ///
    /// # Errors
    ///
    /// There is no answer, or the gateway refuses.
    pub(crate) async fn token(
        self,
        evidence: Option<Evidence>,
    ) -> Result<AccessToken, ControlError> {
        self.post::<TokenBody>(TOKEN, &TokenRequest { evidence })
            .await?
            .try_into()
    }

    /// Lists the services.
    ///
    /// # Errors
    ///
    /// There is no answer, or the gateway refuses.
    pub(crate) async fn services(self) -> Result<Vec<Service>, ControlError> {
        let response = self.send(Method::GET, SERVICES, Bytes::new()).await?;
        parse::<ServicesBody>(SERVICES, &response).map(|body| body.services)
    }

    async fn post<T: DeserializeOwned>(
        self,
        path: &'static str,
        body: &impl Serialize,
    ) -> Result<T, ControlError> {
        let body = serde_json::to_vec(body).map_err(|_| ControlError::Malformed(path))?;
        let response = self.send(Method::POST, path, body.into()).await?;
        parse(path, &response)
    }

    async fn send(
        self,
        method: Method,
        path: &'static str,
        body: Bytes,
    ) -> Result<Response<Bytes>, ControlError> {
        let authority = self.trust_domain.gateway_server_name();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{authority}{path}"));
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(body)
            .map_err(|_| ControlError::Malformed(path))?;
        let response = self.mux.request(request).await?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(ControlError::Refused(Problem::read(
                response.status(),
                response.body(),
            )))
        }
    }
}

/// A token that opens streams, until it expires.
pub(crate) struct AccessToken {
    text: Zeroizing<String>,
    life: Duration,
}

impl AccessToken {
    /// The header that carries it (RFC 6750, section 2.1, for a proxy), kept out of HPACK's table and of `Debug`.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let bearer = Zeroizing::new(format!("Bearer {}", *self.text));
        if let Ok(mut value) = HeaderValue::from_str(&bearer) {
            value.set_sensitive(true);
            headers.insert(PROXY_AUTHORIZATION, value);
        }
        headers
    }

    /// When the next one is to be fetched, from when this one came: after two thirds of its life.
    pub(crate) fn renew_in(&self) -> Duration {
        (self.life * 2 / 3).max(SHORTEST)
    }

    fn new(text: String, expires_at: Timestamp, now: Timestamp) -> Self {
        let life = Duration::try_from(expires_at.duration_since(now));
        Self {
            text: Zeroizing::new(text),
            life: life.unwrap_or_default(),
        }
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken")
    }
}

/// What the gateway says when it refuses (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The status.
    pub(crate) status: StatusCode,
    /// A stable name for programs; empty when the gateway gave none.
    pub(crate) code: String,
    /// A sentence for people.
    pub(crate) detail: String,
}

impl Problem {
    /// Reads a refusal; what is no problem document becomes the status alone.
    ///
    /// The sentence goes to logs and terminals, so that it is cut and its control characters are escaped.
    pub(crate) fn read(status: StatusCode, body: &[u8]) -> Self {
        let document: ProblemBody = serde_json::from_slice(body).unwrap_or_default();
        let detail = if document.detail.is_empty() {
            status.canonical_reason().unwrap_or("refused").to_owned()
        } else {
            harmless(&document.detail)
        };
        Self {
            status,
            code: harmless(&document.code),
            detail,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.status.as_u16())
    }
}

/// Why the control API gave no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ControlError {
    /// There was no answer.
    #[error("the gateway did not answer: {0}")]
    NoAnswer(#[from] RequestError),
    /// The gateway said no.
    #[error("the gateway refused: {0}")]
    Refused(Problem),
    /// The answer is not what the path promises.
    #[error("the gateway's answer to `{0}` cannot be read")]
    Malformed(&'static str),
}

impl ControlError {
    /// Whether the connection takes no new requests, and this one was not sent or not looked at.
    pub(crate) fn is_retired(&self) -> bool {
        match self {
            Self::NoAnswer(RequestError::Draining) => true,
            Self::NoAnswer(RequestError::Failed(error)) => error.is_unprocessed(),
            _ => false,
        }
    }
}

fn harmless(text: &str) -> String {
    let mut harmless = String::new();
    for letter in text.chars().take(LONGEST_DETAIL) {
        if letter.is_control() {
            harmless.extend(letter.escape_default());
        } else {
            harmless.push(letter);
        }
    }
    harmless
}

fn parse<T: DeserializeOwned>(
    path: &'static str,
    response: &Response<Bytes>,
) -> Result<T, ControlError> {
    serde_json::from_slice(response.body()).map_err(|_| ControlError::Malformed(path))
}

#[derive(Serialize)]
struct Enrol<'a> {
    join_token: &'a str,
    certificate_request: String,
    now: Timestamp,
}

#[derive(Serialize)]
struct Renew {
    certificate_request: String,
}

#[derive(Deserialize)]
struct IssuedBody {
    svid: Vec<String>,
    bundle: SignedTrustBundle,
}

impl TryFrom<IssuedBody> for Issued {
    type Error = ControlError;

    fn try_from(body: IssuedBody) -> Result<Self, ControlError> {
        let chain = body.svid.iter().map(|der| {
            Base64::decode_vec(der)
                .map(CertificateDer::from)
                .map_err(|_| ControlError::Malformed(ENROL))
        });
        Ok(Self {
            chain: chain.collect::<Result<_, _>>()?,
            bundle: body.bundle,
        })
    }
}

#[derive(Deserialize)]
struct TokenBody {
    access_token: String,
    access_token_expires_at: Timestamp,
}

impl TryFrom<TokenBody> for AccessToken {
    type Error = ControlError;

    fn try_from(body: TokenBody) -> Result<Self, ControlError> {
        let visible = |byte: u8| byte.is_ascii_graphic();
        if body.access_token.is_empty() || !body.access_token.bytes().all(visible) {
            return Err(ControlError::Malformed(TOKEN));
        }
        Ok(Self::new(
            body.access_token,
            body.access_token_expires_at,
            Timestamp::now(),
        ))
    }
}

#[derive(Deserialize)]
struct ServicesBody {
    services: Vec<Service>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ProblemBody {
    code: String,
    detail: String,
}

const ENROL: &str = "/v1/enrol";
const SHOW_TPM: &str = "/v1/enrol/tpm";
const ACTIVATE_TPM: &str = "/v1/enrol/tpm/activate";
const ATTEST: &str = "/v1/attest";
const RENEW: &str = "/v1/renew";
const TOKEN: &str = "/v1/token";
const SERVICES: &str = "/v1/services";
/// A token that ends at once, by this machine's clock, is not asked for in a loop.
const SHORTEST: Duration = Duration::from_secs(1);
/// Longer than any sentence of ours, short enough for one line of a log.
const LONGEST_DETAIL: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn check_problem(body: &str, code: &str, detail: &str) {
        let problem = Problem::read(StatusCode::FORBIDDEN, body.as_bytes());
        assert_eq!(
            (problem.code.as_str(), problem.detail.as_str()),
            (code, detail)
        );
    }

    #[test]
    fn a_problem_is_read_with_its_code_and_sentence() {
        check_problem(
            r#"{"type":"about:blank","code":"denied","detail":"no grant","more":1}"#,
            "denied",
            "no grant",
        );
    }

    #[test]
    fn what_is_no_problem_is_told_by_its_status() {
        check_problem("<html>", "", "Forbidden");
        check_problem("", "", "Forbidden");
        check_problem(r#"{"detail":7}"#, "", "Forbidden");
    }

    #[test]
    fn a_problem_cannot_write_on_a_terminal() {
        check_problem(r#"{"detail":"a\u001b[2Jb\nc"}"#, "", "a\\u{1b}[2Jb\\nc");
        let long = format!(r#"{{"detail":"{}"}}"#, "a".repeat(9000));
        check_problem(&long, "", &"a".repeat(LONGEST_DETAIL));
    }

    #[test]
    fn a_token_is_renewed_after_two_thirds_of_its_life() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let end = "2026-01-01T00:09:00Z".parse().unwrap();
        let token = AccessToken::new("v4.local.x".to_owned(), end, now);
        assert_eq!(token.renew_in(), Duration::from_secs(6 * 60));
    }

    #[test]
    fn a_clock_that_is_ahead_does_not_ask_without_end() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let end = "2025-12-31T23:59:00Z".parse().unwrap();
        let token = AccessToken::new("v4.local.x".to_owned(), end, now);
        assert_eq!(token.renew_in(), SHORTEST);
    }

    #[test]
    fn a_token_prints_nothing_of_itself() {
        let now = Timestamp::now();
        let token = AccessToken::new("v4.local.x".to_owned(), now, now);
        assert!(!format!("{token:?} {:?}", token.headers()).contains("v4.local"));
        assert_eq!(token.headers()[PROXY_AUTHORIZATION], "Bearer v4.local.x");
    }
}
