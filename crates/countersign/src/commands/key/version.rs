//! Versions at run time: the one place that goes from a version's name to its type.

use countersign_paseto::paserk::{Identifies, Protects, Seals};
use countersign_paseto::{
    Generates, InsecureV1, Local, Mints, Opens, Pairs, Public, Secret, V2, V3, V4, V5, V6,
};

/// Calls a function of a version's type by the version's name.
macro_rules! with_version {
    ($version:expr, $function:ident ( $($argument:expr),* $(,)? )) => {{
        use $crate::cli::PasetoVersion;
        match $version {
            PasetoVersion::V1 => $function::<countersign_paseto::InsecureV1>($($argument),*),
            PasetoVersion::V2 => $function::<countersign_paseto::V2>($($argument),*),
            PasetoVersion::V3 => $function::<countersign_paseto::V3>($($argument),*),
            PasetoVersion::V4 => $function::<countersign_paseto::V4>($($argument),*),
            PasetoVersion::V5 => $function::<countersign_paseto::V5>($($argument),*),
            PasetoVersion::V6 => $function::<countersign_paseto::V6>($($argument),*),
        }
    }};
}
pub(in crate::commands) use with_version;

/// A version, with all that the commands do with it.
pub(in crate::commands) trait Offered:
    Pairs
    + Protects
    + Identifies
    + Opens<Local>
    + Opens<Public>
    + Mints<Local>
    + Mints<Secret>
    + Seals
    + Generates<Local>
    + Generates<Secret>
    + Generates<<Self as Seals>::With>
{
}

impl Offered for InsecureV1 {}
impl Offered for V2 {}
impl Offered for V3 {}
impl Offered for V4 {}
impl Offered for V5 {}
impl Offered for V6 {}
