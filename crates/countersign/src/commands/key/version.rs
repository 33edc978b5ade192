//! Versions at run time: the one place that goes from a version's name to its type.

use countersign_paseto::paserk::{Identifies, Protects};
use countersign_paseto::{
    Generates, InsecureV1, Key, Local, Mints, Opens, Pairs, PaserkError, Public, Secret,
    SystemRandom, V2, V3, V4,
};

use crate::cli::PasetoVersion;
use crate::report::Report;

/// Calls a function of a version's type by the version's name; a draft is an error.
macro_rules! with_version {
    ($version:expr, $function:ident ( $($argument:expr),* $(,)? )) => {{
        use $crate::cli::PasetoVersion;
        match $version {
            PasetoVersion::V1 => $function::<countersign_paseto::InsecureV1>($($argument),*),
            PasetoVersion::V2 => $function::<countersign_paseto::V2>($($argument),*),
            PasetoVersion::V3 => $function::<countersign_paseto::V3>($($argument),*),
            PasetoVersion::V4 => $function::<countersign_paseto::V4>($($argument),*),
            version @ (PasetoVersion::V5 | PasetoVersion::V6) => {
                Err($crate::commands::key::version::NotOffered::Draft(version).into())
            }
        }
    }};
}
pub(in crate::commands) use with_version;

/// What no command can do yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NotOffered {
    /// A version whose specification is not final.
    #[error("{0} is a draft of the specification, which countersign does not have yet")]
    Draft(PasetoVersion),
    /// `k1.seal`.
    #[error("countersign does not have `k1.seal` yet: v1 keys seal and unseal nothing")]
    Seal,
}

impl Report for NotOffered {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Draft(_) => "the versions are v1, v2, v3 and v4".to_owned(),
            Self::Seal => {
                "seal with v2, v3 or v4, or wrap the key: `countersign key wrap`".to_owned()
            }
        })
    }
}

/// Why a key was not sealed or unsealed.
pub(in crate::commands) enum SealFault {
    /// The version has no such type here.
    NotOffered,
    /// The key was refused.
    Refused(PaserkError),
}

/// A version, with all that the commands do with it.
pub(in crate::commands) trait Offered:
    Pairs
    + Protects
    + Identifies
    + Opens<Local>
    + Opens<Public>
    + Mints<Local>
    + Mints<Secret>
    + Generates<Local>
    + Generates<Secret>
{
    /// Seals a key to a public one.
    fn seal_to(_key: &Key<Self, Local>, _to: &Key<Self, Public>) -> Result<String, SealFault> {
        Err(SealFault::NotOffered)
    }

    /// Opens a sealed key with a secret one.
    fn unseal_with(
        _sealed: &str,
        _with: &Key<Self, Secret>,
    ) -> Result<Key<Self, Local>, SealFault> {
        Err(SealFault::NotOffered)
    }
}

impl Offered for InsecureV1 {}

macro_rules! offered_with_seal {
    ($($version:ty),*) => {$(
        impl Offered for $version {
            fn seal_to(key: &Key<Self, Local>, to: &Key<Self, Public>) -> Result<String, SealFault> {
                key.seal(to, &SystemRandom).map_err(SealFault::Refused)
            }

            fn unseal_with(sealed: &str, with: &Key<Self, Secret>) -> Result<Key<Self, Local>, SealFault> {
                Key::unseal(sealed, with).map_err(SealFault::Refused)
            }
        }
    )*};
}

offered_with_seal!(V2, V3, V4);
