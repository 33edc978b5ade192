//! The first contact of an agent that knows nothing but the pin in its join string.
//!
//! [`Introduction`] holds a connection to somebody, and can do one thing: ask for the trust bundle. [`Introduced`] has
//! the answer, and can do one thing: verify it. Only [`Known`] has a connector, so nothing secret can be sent before.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::{ConnectError, Connector};
use crate::identity::{
    BundleError, Expectation, Leaf, Role, SignedTrustBundle, SpiffeId, SpkiHash, TrustBundle,
    TrustDomain,
};
use crate::profile::Profile;
use crate::provider::agent_algorithms;
use crate::record::CertificateFlaw;
use crate::verifier::UnverifiedGateway;

/// A connection to somebody who holds the key of some certificate.
///
/// ```compile_fail
/// # async fn early<IO: tokio::io::AsyncWrite + Unpin>(mut introduction: countersign_channel::client::Introduction<IO>) {
/// use tokio::io::AsyncWriteExt;
/// introduction.write_all(b"the join token").await;
/// # }
/// ```
///
/// ```no_run
/// # use countersign_channel::client::{Introduction, IntroductionError, Connector};
/// # use countersign_channel::{identity::{SpkiHash, TrustDomain}, Profile};
/// # async fn example(domain: TrustDomain, pin: SpkiHash, tcp: tokio::net::TcpStream) -> Result<Connector, IntroductionError> {
/// let introduction = Introduction::start(Profile::HybridV1, &domain, tcp).await?;
/// let known = introduction.fetch().await?.verify(&pin, jiff::Timestamp::now())?;
/// // Now a channel may be made, to a gateway that the handshake verifies.
/// Ok(known.connector)
/// # }
/// ```
pub struct Introduction<IO> {
    stream: TlsStream<IO>,
    profile: Profile,
    trust_domain: TrustDomain,
}

/// What somebody said the trust bundle is.
pub struct Introduced {
    signed: SignedTrustBundle,
    chain: Vec<CertificateDer<'static>>,
    profile: Profile,
    trust_domain: TrustDomain,
    unverified_time: Option<Timestamp>,
}

/// The trust bundle that the pinned key signed, shown by a gateway that it vouches for.
#[derive(Debug)]
#[non_exhaustive]
pub struct Known {
    /// The bundle.
    pub bundle: Arc<TrustBundle>,
    /// The gateway that showed it.
    pub gateway: SpiffeId,
    /// What makes channels to gateways of the bundle, with no certificate of our own yet.
    pub connector: Connector,
}

/// Why an introduction led nowhere. Nothing secret was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IntroductionError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// What answered did not send a bundle.
    #[error("what answered is no gateway: {reason}")]
    Answer {
        /// What it did instead.
        reason: String,
    },
    /// The bundle does not hold.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The bundle does not vouch for the gateway that showed it.
    #[error("the trust bundle does not vouch for what answered: {0}")]
    Gateway(CertificateFlaw),
    /// The gateway's certificate is not valid by our clock, so one of the two clocks is wrong.
    #[error(
        "the clock here says {now}, and the gateway's certificate holds from {not_before} to {not_after}"
    )]
    Clock {
        /// Our time.
        now: Timestamp,
        /// When the gateway's certificate begins.
        not_before: Timestamp,
        /// When it ends.
        not_after: Timestamp,
        /// What the clock there says, if it said so. Good for a message and nothing else: the gateway is not verified.
        unverified_time: Option<Timestamp>,
    },
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Introduction<IO> {
    /// Connects to what may be a gateway of this trust domain.
    ///
    /// # Errors
    ///
    /// Nobody there speaks TLS 1.3 as the profile asks.
    pub async fn start(
        profile: Profile,
        trust_domain: &TrustDomain,
        io: IO,
    ) -> Result<Self, ConnectError> {
        let verifier = Arc::new(UnverifiedGateway::new(profile));
        let config = super::config(profile, verifier, None, b"http/1.1")?;
        let stream = super::handshake(&config, &super::server_name(trust_domain)?, io).await?;
        let trust_domain = trust_domain.clone();
        Ok(Self {
            stream,
            profile,
            trust_domain,
        })
    }

    /// Asks for the trust bundle, and hangs up.
    ///
    /// # Errors
    ///
    /// The answer is not a bundle, is too long or takes too long.
    pub async fn fetch(mut self) -> Result<Introduced, IntroductionError> {
        let response = timeout(FETCH_TIME, self.request())
            .await
            .map_err(|_| answer("it took too long"))??;
        let signed = SignedTrustBundle::from_json(body(&response)?)?;
        let chain = self
            .stream
            .get_ref()
            .1
            .peer_certificates()
            .unwrap_or_default()
            .to_vec();
        Ok(Introduced {
            signed,
            chain,
            unverified_time: split(&response).and_then(|(head, _)| date(head)),
            profile: self.profile,
            trust_domain: self.trust_domain,
        })
    }

    async fn request(&mut self) -> Result<Vec<u8>, IntroductionError> {
        let host = self.trust_domain.gateway_server_name();
        let request =
            format!("GET {BUNDLE_PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let lost =
            |error: std::io::Error| IntroductionError::Connect(ConnectError::from_io(&error));
        self.stream
            .write_all(request.as_bytes())
            .await
            .map_err(lost)?;
        self.stream.flush().await.map_err(lost)?;
        let mut response = Vec::new();
        while !is_complete(&response) {
            if response.len() > MAX_RESPONSE {
                return Err(answer("its answer is too long"));
            }
            if self.stream.read_buf(&mut response).await.map_err(lost)? == 0 {
                return Err(answer("its answer was cut off"));
            }
        }
        Ok(response)
    }
}

impl<IO> fmt::Debug for Introduction<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Introduction({})", self.trust_domain)
    }
}

impl Introduced {
    /// Verifies that the pinned key signed the bundle, and that the bundle vouches for the gateway that showed it.
    ///
    /// # Errors
    ///
    /// It did not, or does not; or a clock is wrong.
    pub fn verify(self, pin: &SpkiHash, now: Timestamp) -> Result<Known, IntroductionError> {
        let bundle = Arc::new(self.signed.verify(pin, &self.trust_domain)?);
        let gateway =
            verify_gateway(&bundle, self.profile, &self.chain, now).map_err(
                |error| match error {
                    IntroductionError::Clock {
                        now,
                        not_before,
                        not_after,
                        ..
                    } => IntroductionError::Clock {
                        now,
                        not_before,
                        not_after,
                        unverified_time: self.unverified_time,
                    },
                    error => error,
                },
            )?;
        let connector = Connector::anonymous(self.profile, bundle.clone())?;
        Ok(Known {
            bundle,
            gateway,
            connector,
        })
    }
}

impl fmt::Debug for Introduced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Introduced({})", self.trust_domain)
    }
}

fn verify_gateway(
    bundle: &TrustBundle,
    profile: Profile,
    chain: &[CertificateDer<'static>],
    now: Timestamp,
) -> Result<SpiffeId, IntroductionError> {
    let (leaf, intermediates) = chain
        .split_first()
        .ok_or(IntroductionError::Gateway(CertificateFlaw::Malformed))?;
    let expectation = Expectation {
        anchors: bundle.webpki_anchors(),
        trust_domain: bundle.trust_domain(),
        role: Role::Gateway,
        algorithms: agent_algorithms(profile).all,
    };
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    match expectation.verify(leaf, intermediates, at) {
        Ok(leaf) => Ok(leaf.id().clone()),
        Err(flaw @ (CertificateFlaw::Expired | CertificateFlaw::NotYetValid)) => {
            Err(clock(leaf, now, flaw))
        }
        Err(flaw) => Err(IntroductionError::Gateway(flaw)),
    }
}

fn clock(leaf: &CertificateDer<'_>, now: Timestamp, flaw: CertificateFlaw) -> IntroductionError {
    match Leaf::unverified(leaf) {
        Err(_) => IntroductionError::Gateway(flaw),
        Ok(leaf) => IntroductionError::Clock {
            now,
            not_before: leaf.not_before(),
            not_after: leaf.not_after(),
            unverified_time: None,
        },
    }
}

/// Whether the response has its whole head, and then as many bytes as the head says.
fn is_complete(response: &[u8]) -> bool {
    let Some((head, body)) = split(response) else {
        return false;
    };
    match content_length(head) {
        Some(length) => body.len() >= length,
        // The head is there and wrong: there is nothing to wait for.
        None => true,
    }
}

fn body(response: &[u8]) -> Result<&[u8], IntroductionError> {
    let (head, body) = split(response).ok_or_else(|| answer("it does not speak HTTP"))?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if !head.starts_with("HTTP/1.1 ") || status != "200" {
        return Err(answer(&format!(
            "it answered with the status `{}`",
            status.escape_default()
        )));
    }
    let length = content_length(head).ok_or_else(|| answer("its answer has no length"))?;
    body.get(..length)
        .filter(|_| body.len() == length)
        .ok_or_else(|| answer("its answer has another length than it says"))
}

/// Head and body of a response; the head without its last line break.
fn split(response: &[u8]) -> Option<(&str, &[u8])> {
    let end = response
        .windows(4)
        .position(|window| window == b"\r\n\r\n")?;
    let (head, rest) = response.split_at_checked(end)?;
    Some((
        std::str::from_utf8(head).unwrap_or_default(),
        rest.get(4..)?,
    ))
}

/// The time of the answer (RFC 9110, section 6.6.1).
fn date(head: &str) -> Option<Timestamp> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let (_, date) = lines.find(|(name, _)| name.eq_ignore_ascii_case("date"))?;
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    parser.parse_timestamp(date.trim()).ok()
}

fn content_length(head: &str) -> Option<usize> {
    let mut lengths = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = lengths.next()?;
    if lengths.next().is_some() {
        return None;
    }
    length
        .trim()
        .parse()
        .ok()
        .filter(|length| *length <= MAX_RESPONSE)
}

fn answer(reason: &str) -> IntroductionError {
    IntroductionError::Answer {
        reason: reason.to_owned(),
    }
}

/// Where a gateway shows the bundle, without authentication.
const BUNDLE_PATH: &str = "/.well-known/countersign/bundle";

/// A bundle has at most 128 KiB; the rest is for the head.
const MAX_RESPONSE: usize = 144 * 1024;

const FETCH_TIME: Duration = Duration::from_secs(15);
