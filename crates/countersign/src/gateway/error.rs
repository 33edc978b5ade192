//! Why a gateway does not start, or does not take a new configuration.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use countersign_channel::server::ClientAuthorityError;
use countersign_policy::{BundleError, InvalidGrant};

use super::services::ServiceError;
use crate::attestation::RootsError;
use crate::config::ConfigError;
use crate::custody::CustodyError;
use crate::private_file::PrivateFileError;
use crate::report::{Report, Verdict};

/// Why a gateway does not start, or does not take a new configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum GatewayError {
    /// The configuration does not hold.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state folder cannot be made.
    #[error("the state folder `{}` cannot be used", folder.display())]
    StateDir {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What the gateway keeps cannot be opened.
    #[error(transparent)]
    Custody(#[from] CustodyError),
    /// A service's TLS cannot be set up.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The certificates of TPM makers cannot be used.
    #[error("the certificates of TPM makers cannot be used")]
    TpmRoots(#[from] RootsError),
    /// The policy's folder cannot be read.
    #[error("the policy bundle in `{}` cannot be read", folder.display())]
    BundleUnreadable {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The policy's folder holds no good bundle.
    #[error("the policy bundle in `{}` cannot be used", folder.display())]
    Bundle {
        /// The folder.
        folder: PathBuf,
        /// Each fault, with its file and line.
        source: BundleError,
    },
    /// The policy cannot be built.
    #[error("the policy cannot be built")]
    Policy(#[source] BundleError),
    /// A grant cannot be one.
    #[error(transparent)]
    Grant(#[from] InvalidGrant),
    /// A port cannot be listened on.
    #[error("{what} cannot listen on {address}: {source}")]
    Bind {
        /// Whose port it is.
        what: String,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The operator socket cannot be made.
    #[error("the operator socket `{}` cannot be made: {source}", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A listener's certificates or rules cannot be used.
    #[error("listener `{listener}`: {detail}")]
    Listener {
        /// The listener.
        listener: String,
        /// What is wrong.
        detail: String,
    },
    /// The key of a listener's certificate was not read.
    #[error("listener `{listener}`")]
    ClassicalCertificateKey {
        /// The listener.
        listener: String,
        /// Why.
        source: PrivateFileError,
    },
    /// The public keys of identity tokens cannot be written for their readers.
    #[error("the keys of identity tokens cannot be written to `{}`: {source}", file.display())]
    KeysFile {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of an authority of client certificates cannot be read.
    #[error("client authority `{authority}`: `{}` cannot be read: {source}", file.display())]
    ClientAuthorityUnreadable {
        /// The authority.
        authority: String,
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of an authority of client certificates cannot be used.
    #[error("client authority `{authority}`: its file cannot be used: {source}")]
    ClientAuthority {
        /// The authority.
        authority: String,
        /// What is wrong with it.
        source: ClientAuthorityError,
    },
    /// Signals cannot be waited for.
    #[error("signals cannot be waited for: {0}")]
    Signals(#[source] io::Error),
}

impl Report for GatewayError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Custody(error) => error.hint(),
            Self::Service(error) => error.hint(),
            Self::ClassicalCertificateKey { source, .. } => source.hint(),
            Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Some("another process has the port: stop it, or choose another address".to_owned())
            }
            Self::Bind { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Some(
                "ports below 1024 take CAP_NET_BIND_SERVICE; the systemd unit in deploy/ gives it"
                    .to_owned(),
            ),
            Self::Socket { source, .. } if source.kind() == io::ErrorKind::AddrInUse => Some(
                "a gateway answers on it: stop that one, or set another `operate.socket`"
                    .to_owned(),
            ),
            Self::Socket { .. } => Some(
                "make its folder, or set `operate.socket` to a path that can be written to"
                    .to_owned(),
            ),
            Self::StateDir { .. } => Some(
                "make the folder and give it to the gateway's user, or set `state_dir`".to_owned(),
            ),
            Self::KeysFile { .. } => Some(
                "make its folder and let the gateway's user write there, or set another `identity.keys_file`"
                    .to_owned(),
            ),
            Self::Bundle { .. } | Self::BundleUnreadable { .. } => {
                Some("without `policy.bundle` the built-in bundle decides by grants".to_owned())
            }
            _ => None,
        }
    }
    fn verdict(&self) -> Verdict {
        match self {
            Self::Config(error) => error.verdict(),
            Self::Custody(error) => error.verdict(),
            Self::Service(error) => error.verdict(),
            _ => Verdict::Unknown,
        }
    }
}
