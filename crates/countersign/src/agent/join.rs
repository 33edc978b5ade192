//! How an agent gets in: from a join string to a certificate.
//!
//! The order is what makes it safe. The key and the join string are on disk before anything is sent; the gateway has
//! shown a bundle that the pinned key signed, and a certificate that the bundle vouches for, before the join token is
//! sent; the certificate is on disk before it is used. Cut anywhere, the same start does the rest.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use countersign_channel::Profile;
use countersign_channel::client::{Introduction, IntroductionError};
use countersign_channel::identity::{BundleError, CertificateRequest, PrivateKey, RequestError};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::attester::{Attester, AttesterError};
use super::backoff::{self, Backoff};
use super::control::{Control, ControlError, Issued, Problem};
use super::dial::{DialError, connect, tcp};
use super::home::Home;
use super::identity::{Identity, IdentityError, keep_join_string, kept_join_string, key_for};
use crate::attestation::wire::{ActivateTpm, Bytes};
use crate::config::{AgentConfig, BackoffConfig, HostPort};
use crate::join_string::{JoinString, JoinStringError};
use crate::report::{Report, Verdict};

/// Where an agent joins, and by what.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) address: &'a HostPort,
    pub(crate) profile: Profile,
    /// The machine's TPM.
    pub(crate) attester: Option<&'a Attester>,
}

/// Joins with a join string, or goes on with the one that an earlier start kept.
///
/// # Errors
///
/// There is no join string, or [`JoinError`] says what went wrong with it.
pub(crate) async fn join(
    home: Home,
    given: Option<JoinString>,
    config: &AgentConfig,
    attester: Option<&Attester>,
) -> Result<Identity, JoinError> {
    let join = match given {
        Some(join) => join,
        None => kept_join_string(&home)?.ok_or_else(|| JoinError::NotJoined {
            directory: home.directory().display().to_string(),
        })?,
    };
    let key = key_for(&home, config.profile, attester)?;
    keep_join_string(&home, &join)?;
    let place = Place {
        address: config.gateway.as_ref().unwrap_or(&join.address),
        profile: config.profile,
        attester,
    };
    let issued = enrol_in_time((&join, &key), place, &config.backoff).await?;
    let bundle = issued.bundle.clone();
    let bundle = bundle.verify(&join.pin, &join.trust_domain)?;
    Ok(Identity::joined(home, &join, key, bundle, issued)?)
}

/// Gets a fresh certificate for an agent whose own has expired, as one does that slept or was switched off.
///
/// The gateway takes the key that once used a join token for the agent that it was, unless it has been revoked. Once it
/// has forgotten the token, the join string at `given` does, where there is a new one.
///
/// # Errors
///
/// The join strings are too old, or [`JoinError`] says what went wrong.
pub(crate) async fn join_again(
    identity: &Identity,
    given: Option<&Path>,
    place: Place<'_>,
) -> Result<(), JoinError> {
    let kept = kept_join_string(identity.home())?;
    let again = enrol_again(identity, kept, place).await;
    match (again, given) {
        (Err(JoinError::Refused(_) | JoinError::Expired { .. }), Some(path)) if !is_stdin(path) => {
            let join = read(path)?;
            keep_join_string(identity.home(), &join)?;
            enrol_again(identity, Some(join), place).await
        }
        (again, _) => again,
    }
}

async fn enrol_again(
    identity: &Identity,
    join: Option<JoinString>,
    place: Place<'_>,
) -> Result<(), JoinError> {
    let of_this_domain = |join: &JoinString| join.pin == *identity.pin();
    let join = join
        .filter(of_this_domain)
        .ok_or_else(|| JoinError::Expired {
            at: identity.current().svid.not_after(),
        })?;
    let issued = enrol(&join, identity.key(), place).await?;
    Ok(identity.renewed(issued)?)
}

/// A gateway that cannot let anyone in now, as while the HSM with its authority's key is away, is asked again for as long as
/// the join string is good.
async fn enrol_in_time(
    (join, key): (&JoinString, &PrivateKey),
    place: Place<'_>,
    backoff: &BackoffConfig,
) -> Result<Issued, JoinError> {
    let mut backoff = Backoff::new(backoff);
    loop {
        let problem = match enrol(join, key, place).await {
            Err(JoinError::Refused(problem)) if problem.code == UNAVAILABLE => problem,
            outcome => return outcome,
        };
        let wait = backoff.after_failure(backoff::random());
        tracing::warn!(error = %problem, retry_in_ms = wait.as_millis(), "not let in yet");
        tokio::time::sleep(wait).await;
    }
}

async fn enrol(join: &JoinString, key: &PrivateKey, place: Place<'_>) -> Result<Issued, JoinError> {
    let Place {
        address, profile, ..
    } = place;
    let introduction = Introduction::start(profile, &join.trust_domain, tcp(address).await?).await;
    let introduced = introduction.map_err(DialError::from)?.fetch().await?;
    let known = introduced.verify(&join.pin, Timestamp::now())?;
    let (mux, _) = connect(address, &known.connector).await?;
    let request = CertificateRequest::write(key)?;
    let control = Control::new(&mux, &join.trust_domain);
    let issued = match place.attester {
        Some(attester) => enrol_by_tpm(control, attester, join, request).await,
        None => {
            let token = join.token.as_ref().ok_or(JoinError::NoTpm)?;
            let issued = control.enrol(token, &request, Timestamp::now()).await;
            issued.map_err(JoinError::from)
        }
    };
    mux.drain();
    issued
}

/// The gateway encrypts a secret to the machine's TPM, and lets in whoever shows that the TPM opened it.
async fn enrol_by_tpm(
    control: Control<'_>,
    attester: &Attester,
    join: &JoinString,
    certificate_request: Vec<u8>,
) -> Result<Issued, JoinError> {
    let token = || {
        join.token
            .as_ref()
            .map(|token| token.expose_secret().to_owned())
    };
    let challenge = control.show_tpm(&attester.shown(token()).await?).await?;
    let secret = attester.activate(&challenge).await?;
    let mac = crate::attestation::mac(secret.expose_secret(), &certificate_request);
    let proof = ActivateTpm {
        join_token: token(),
        certificate_request: Bytes(certificate_request),
        now: Timestamp::now(),
        mac: Bytes(mac),
    };
    Ok(control.activate_tpm(&proof).await?)
}

/// The join string at `given`, if it is another than the one that was kept.
///
/// A file that is gone or empty once the agent has joined is in order.
///
/// # Errors
///
/// The state directory cannot be read.
pub(super) fn another(
    home: &Home,
    given: Option<&Path>,
) -> Result<Option<JoinString>, IdentityError> {
    let Some(join) = given.and_then(|path| read(path).ok()) else {
        return Ok(None);
    };
    let kept = kept_join_string(home)?;
    let token = |join: &JoinString| {
        let token = join.token.as_ref();
        token.map(|token| Zeroizing::new(token.expose_secret().to_owned()))
    };
    let is_kept = kept.is_some_and(|kept| kept.pin == join.pin && token(&kept) == token(&join));
    Ok((!is_kept).then_some(join))
}

/// The join string of a file that only its owner can read, or of standard input (`-`).
///
/// # Errors
///
/// It cannot be read, others can read it, or it is none.
pub(super) fn read(path: &Path) -> Result<JoinString, JoinError> {
    let unreadable = |source| JoinError::Unreadable {
        path: path.display().to_string(),
        source,
    };
    let mut text = Zeroizing::new(String::new());
    if is_stdin(path) {
        let stdin = io::stdin().lock();
        stdin
            .take(LONGEST)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
    } else {
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            let path = path.display().to_string();
            return Err(JoinError::TooOpen { path, mode });
        }
        file.take(LONGEST)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
    }
    Ok(text.parse()?)
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Why an agent did not get in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum JoinError {
    /// There is nothing to join with.
    #[error("this agent has not joined: `{directory}` holds no certificate")]
    NotJoined {
        /// The state directory.
        directory: String,
    },
    /// The file or standard input cannot be read.
    #[error("cannot read the join string from `{path}`: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read the join string.
    #[error("`{path}` holds a secret and is open to other users (mode {mode:04o})")]
    TooOpen {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// The join string is for machines with a TPM.
    #[error("the join string is for machines with a TPM, and this agent is told of none")]
    NoTpm,
    /// The TPM does not do its part.
    #[error(transparent)]
    Tpm(#[from] AttesterError),
    /// The text is no join string.
    #[error(transparent)]
    JoinString(#[from] JoinStringError),
    /// The state directory cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// What answered is not the gateway of the join string; nothing was sent to it.
    #[error("what answers is not the gateway of the join string")]
    WrongGateway(#[source] IntroductionError),
    /// The clocks of the two machines differ; nothing was sent.
    #[error("this machine's clock is {}", in_words(*.seconds, *.at_least))]
    Clock {
        /// By how much this clock is ahead; negative when it is behind.
        seconds: i64,
        /// Whether it may be more: the gateway did not say what its clock says.
        at_least: bool,
    },
    /// The gateway said no.
    #[error("the gateway did not let this machine in: {}", .0.detail)]
    Refused(Problem),
    /// The gateway's answer cannot be used.
    #[error(transparent)]
    Answer(ControlError),
    /// The certificate request could not be made.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The certificate expired while the agent was off, and there is no way to get another by itself.
    #[error("this agent's certificate expired at {at}")]
    Expired {
        /// When.
        at: Timestamp,
    },
}

impl From<IntroductionError> for JoinError {
    fn from(error: IntroductionError) -> Self {
        match error {
            IntroductionError::Connect(error) => Self::Dial(error.into()),
            IntroductionError::Clock {
                now,
                not_before,
                not_after,
                unverified_time,
            } => {
                let nearest = if now < not_before {
                    not_before
                } else {
                    not_after
                };
                let there = unverified_time.unwrap_or(nearest);
                Self::Clock {
                    seconds: now.duration_since(there).as_secs(),
                    at_least: unverified_time.is_none(),
                }
            }
            error => Self::WrongGateway(error),
        }
    }
}

impl From<BundleError> for JoinError {
    fn from(error: BundleError) -> Self {
        Self::WrongGateway(error.into())
    }
}

impl From<ControlError> for JoinError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Refused(problem) => Self::Refused(problem),
            error => Self::Answer(error),
        }
    }
}

impl Report for JoinError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotJoined { .. } => {
                "on the gateway run `countersign join-string create --name NAME`, and give the line to \
                 `countersign agent --join -` here"
            }
            Self::TooOpen { path, .. } => return Some(format!("run `chmod 600 {path}`")),
            Self::JoinString(_) => {
                "copy the whole line that `countersign join-string create` printed"
            }
            Self::NoTpm => {
                "name the TPM in the configuration (`[tpm] device = \"/dev/tpmrm0\"`), or get a string for one machine with \
                 `countersign join-string create --name NAME`"
            }
            Self::Tpm(error) => return error.remedy(),
            Self::Identity(error) => return error.hint(),
            Self::Dial(DialError::Unreachable { .. }) => {
                "check that the gateway runs, and that the address is right from here; `gateway` in the \
                 configuration takes the place of the join string's address"
            }
            Self::Dial(_) => "check that the address leads to the gateway, with the same profile",
            Self::WrongGateway(_) => {
                "nothing secret was sent; check the address, and that the join string was made by this gateway"
            }
            Self::Clock { .. } => "set the clock (`timedatectl set-ntp true`) and start again",
            Self::Refused(problem) => return hint_of(problem).map(str::to_owned),
            Self::Expired { .. } => {
                "on the gateway run `countersign join-string create --name NAME --replace`, and give the \
                 line to `countersign agent --join -` here"
            }
            Self::Unreadable { .. } | Self::Answer(_) | Self::Request(_) => return None,
        };
        Some(hint.to_owned())
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Refused(_) | Self::WrongGateway(_) | Self::Clock { .. } => Verdict::No,
            _ => Verdict::Unknown,
        }
    }
}

fn hint_of(problem: &Problem) -> Option<&'static str> {
    Some(match problem.code.as_str() {
        "join_expired" => "make a new one: `countersign join-string create --name NAME`",
        "key_revoked" => {
            "this machine's key was revoked: move its `state_dir` away, and join with a new join string"
        }
        "join_used" => {
            "a join string lets one machine in: make one for this machine, and if nobody here used it, \
             revoke the agent that did (`countersign agents revoke NAME --reason REASON`)"
        }
        "clock_skew" => "set the clock (`timedatectl set-ntp true`) and start again",
        "wrong_gateway" => "make a join string on the gateway that it leads to",
        "ek_untrusted" => {
            "if this machine is to be let in, on the gateway run `countersign agents allow-ek HASH` with the hash above"
        }
        "name_in_use" => {
            "choose another name, or take it over: `countersign join-string create --name NAME --replace`"
        }
        _ => return None,
    })
}

fn in_words(seconds: i64, at_least: bool) -> String {
    let way = if seconds < 0 { "behind" } else { "ahead of" };
    let bound = if at_least { "at least " } else { "" };
    format!(
        "{bound}{} seconds {way} the gateway's",
        seconds.unsigned_abs()
    )
}

/// The problem of a gateway that could not, and used up nothing.
const UNAVAILABLE: &str = "unavailable";

/// More than a join string has.
const LONGEST: u64 = 64 * 1024;
