//! Why the authority cannot work.

use countersign_channel::identity::{
    AuthorityError, BundleError, InvalidSpiffeId, KeyError, RequestError, SvidError,
};

use crate::report::Report;
use crate::root_key::RootKeyError;
use crate::store::StoreError;

/// Why the authority cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AuthorityServiceError {
    /// A sealed key does not open.
    #[error(transparent)]
    Root(#[from] RootKeyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bundle in the store is not one that this trust domain's key signed.
    #[error("the trust bundle in the database cannot be used")]
    Bundle(#[from] BundleError),
    /// A key in the store is none, or could not be made.
    #[error("a key of the authority cannot be used")]
    Key(#[from] KeyError),
    /// The database lacks what a first start wrote.
    #[error("the database has no {what}")]
    Absent { what: &'static str },
    /// No certificate could be issued.
    #[error("the authority could not issue a certificate")]
    Issue(#[from] AuthorityError),
    /// The gateway could not prove its own key.
    #[error("the gateway's own certificate request failed")]
    Request(#[from] RequestError),
    /// What was issued does not fit its key.
    #[error("the gateway's own certificate cannot be used")]
    Svid(#[from] SvidError),
    /// The gateway's name cannot be part of a SPIFFE ID.
    #[error("the gateway's name cannot be used")]
    Name(#[from] InvalidSpiffeId),
    /// The key in the token would issue nothing.
    #[error(
        "the key `authority` of `[keys]` is {found}, and the listeners' profiles have authorities with {wanted}"
    )]
    UnfitKey {
        found: countersign_hsm::KeyAlgorithm,
        wanted: String,
    },
}

impl AuthorityServiceError {
    /// Whether a key that is kept elsewhere did not sign, as when its token is gone.
    pub(crate) const fn key_did_not_sign(&self) -> bool {
        matches!(
            self,
            Self::Issue(AuthorityError::Key(KeyError::Elsewhere { .. }))
        )
    }
}

impl Report for AuthorityServiceError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Root(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Bundle(_) | Self::Key(_) | Self::Absent { .. } => {
                Some("restore a backup: `countersign backup restore`".to_owned())
            }
            Self::UnfitKey { wanted, .. } => Some(format!(
                "name a key with {wanted}, or take `authority` out of `[keys]`"
            )),
            Self::Issue(_) | Self::Request(_) | Self::Svid(_) | Self::Name(_) => None,
        }
    }
}
