//! Why there is no certificate, and what to do about it.

use std::path::PathBuf;
use std::time::Duration;

use countersign_channel::identity::{KeyError, RequestError};
use countersign_channel::server::{ChallengeError, ListenerError};
use instant_acme::Problem;

use super::http::HttpError;
use crate::private_file::PrivateFileError;
use crate::report::Report;
use crate::root_key::RootKeyError;
use crate::store::StoreError;

/// Why an ACME server gave no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AcmeError {
    /// The server cannot be reached.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The server said no.
    #[error("the ACME server refuses: {}", in_words(.0))]
    Refused(Box<Problem>),
    /// The server did not find its answer.
    #[error("the ACME server cannot verify that `{name}` leads here: {}", in_words(.problem))]
    Unproven {
        /// The name.
        name: String,
        /// What the server said.
        problem: Box<Problem>,
    },
    /// The server gave up without a reason.
    #[error("the ACME server gave the order for `{name}` up and did not say why")]
    Invalid {
        /// The name.
        name: String,
    },
    /// The server proves names in other ways only.
    #[error("the ACME server offers no TLS-ALPN-01 challenge for `{name}`")]
    NoChallenge {
        /// The name.
        name: String,
    },
    /// The server took too long.
    #[error("the ACME server is not done in time")]
    Slow,
    /// The server does not keep to RFC 8555.
    #[error("the ACME server's answer cannot be understood: {0}")]
    Answer(String),
    /// The challenge cannot be answered.
    #[error(transparent)]
    Challenge(#[from] ChallengeError),
    /// The certificate that came cannot be used.
    #[error("the ACME server's certificate cannot be used")]
    Certificate(#[source] ListenerError),
    /// The certificate that came is for other names.
    #[error("the ACME server's certificate is for {}, and not for `{name}`", names.join(", "))]
    OtherNames {
        /// The name.
        name: String,
        /// The names in the certificate.
        names: Vec<String>,
    },
    /// The key of the account elsewhere was not read.
    #[error(transparent)]
    ExternalAccountFile(#[from] PrivateFileError),
    /// The key of the account elsewhere is not one.
    #[error("`{}` holds no key in base64url", file.display())]
    ExternalAccountKey {
        /// The file.
        file: PathBuf,
    },
    /// A key or a request could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A request could not be made.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// What came could not be sealed.
    #[error(transparent)]
    RootKey(#[from] RootKeyError),
    /// What came could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<instant_acme::Error> for AcmeError {
    fn from(error: instant_acme::Error) -> Self {
        use instant_acme::Error;
        match error {
            Error::Api(problem) => Self::Refused(Box::new(problem)),
            Error::Timeout(_) => Self::Slow,
            Error::Other(error) => match error.downcast::<HttpError>() {
                Ok(error) => Self::Http(*error),
                Err(error) => Self::Answer(error.to_string()),
            },
            error => Self::Answer(error.to_string()),
        }
    }
}

impl Report for AcmeError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Http(error) => return error.hint(),
            Self::Refused(problem) => return remedy(problem, "the name"),
            Self::Unproven { name, problem } => return remedy(problem, name),
            Self::NoChallenge { .. } => {
                "use an ACME server that has it, or a certificate from files".to_owned()
            }
            Self::ExternalAccountFile(error) => return error.hint(),
            Self::ExternalAccountKey { .. } => {
                "put the key there as the authority gave it, and nothing else".to_owned()
            }
            Self::RootKey(error) => return error.hint(),
            Self::Store(error) => return error.hint(),
            _ => return None,
        })
    }
}

impl AcmeError {
    /// Whether the server does not know our account any more (RFC 8555 section 6.7).
    pub(super) fn is_account_unknown(&self) -> bool {
        self.kind() == Some("accountDoesNotExist")
    }

    /// How long to leave the server alone, at least.
    pub(super) fn wait(&self) -> Duration {
        match self.kind() {
            Some("rateLimited") => Duration::from_secs(3600),
            _ => Duration::ZERO,
        }
    }

    fn kind(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) | Self::Unproven { problem, .. } => kind(problem),
            _ => None,
        }
    }
}

fn kind(problem: &Problem) -> Option<&str> {
    let kind = problem.r#type.as_deref()?;
    kind.strip_prefix("urn:ietf:params:acme:error:")
}

fn in_words(problem: &Problem) -> String {
    let subproblems = problem.subproblems.iter();
    let details = subproblems.filter_map(|one| one.detail.as_deref());
    let words: Vec<_> = problem
        .detail
        .as_deref()
        .into_iter()
        .chain(details)
        .collect();
    match (words.is_empty(), kind(problem)) {
        (false, Some(kind)) => format!("{} ({kind})", words.join(": ")),
        (false, None) => words.join(": "),
        (true, kind) => kind.unwrap_or("it does not say why").to_owned(),
    }
}

/// What to do about an error of RFC 8555, section 6.7.
fn remedy(problem: &Problem, name: &str) -> Option<String> {
    Some(match kind(problem)? {
        "connection" | "tls" | "unauthorized" | "incorrectResponse" => format!(
            "port 443 of `{name}` has to lead the ACME server to a listener of this gateway, with nothing between that ends TLS"
        ),
        "dns" => format!("give `{name}` an address in the DNS that leads to this gateway"),
        "caa" => format!("allow this authority in the CAA record of `{name}`"),
        "rateLimited" => "the authority's limit is reached: it is tried again later".to_owned(),
        "rejectedIdentifier" | "unsupportedIdentifier" => {
            "set `acme.names` to names that the authority issues for".to_owned()
        }
        "externalAccountRequired" => {
            "set [acme.external_account] to the key that the authority gave you".to_owned()
        }
        "userActionRequired" => "the authority's terms have changed: see what it says".to_owned(),
        "accountDoesNotExist" => "another account is made with the next attempt".to_owned(),
        "invalidContact" | "unsupportedContact" => "correct `acme.contact`".to_owned(),
        _ => return None,
    })
}
