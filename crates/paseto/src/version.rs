//! Versions, purposes and kinds of key as types, so that mixing them up does not compile.

use alloc::vec::Vec;
use core::ops::Range;

use zeroize::Zeroizing;

use crate::error::{InvalidKey, TokenError};
use crate::random::{Random, RandomnessUnavailable};

/// A version of PASETO, such as [`V4`](crate::V4).
///
/// This trait is sealed: versions are defined by the specification.
pub trait Version: sealed::Sealed + Sized + 'static {
    /// The first part of a token's header, such as `v4`.
    const TOKEN: &'static str;
    /// The first part of a serialised key's header, such as `k4`.
    const PASERK: &'static str;

    /// The revision of the draft that this version follows; `None` for the versions of the specification.
    ///
    /// Tokens and keys of a draft may be unreadable to the next revision.
    const DRAFT_REVISION: Option<&'static str> = None;

    #[doc(hidden)]
    const ASSERTS: bool = true;
}

/// A purpose of PASETO tokens: [`Local`] or [`Public`].
///
/// This trait is sealed: purposes are defined by the specification.
pub trait Purpose: sealed::Sealed + 'static {
    /// The second part of a token's header, such as `local`.
    const NAME: &'static str;
}

/// A kind of key: [`Local`], [`Public`] or [`Secret`], or [`SealPublic`] or [`SealSecret`].
///
/// This trait is sealed: kinds are defined by the PASERK specification.
pub trait Kind: sealed::Sealed + 'static {
    /// The second part of a plain serialised key's header, such as `secret`.
    const PLAIN: &'static str;
    /// The second part of this kind's key id header, such as `sid`.
    const ID: &'static str;
}

/// Symmetric encryption: one key mints and verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {}

/// Signatures: the purpose of such tokens and the kind of key that verifies them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Public {}

/// The kind of key that signs [`Public`] tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {}

/// The kind of key that local keys are sealed to, in versions where that is not a [`Public`] one.
///
/// Its text has the header of a [`Public`] key and another length, so that the type tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealPublic {}

/// The kind of key that opens what was sealed to a [`SealPublic`] one; its text has the header of a [`Secret`] key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealSecret {}

impl Purpose for Local {
    const NAME: &'static str = "local";
}

impl Purpose for Public {
    const NAME: &'static str = "public";
}

impl Kind for Local {
    const PLAIN: &'static str = "local";
    const ID: &'static str = "lid";
}

impl Kind for Public {
    const PLAIN: &'static str = "public";
    const ID: &'static str = "pid";
}

impl Kind for Secret {
    const PLAIN: &'static str = "secret";
    const ID: &'static str = "sid";
}

impl Kind for SealPublic {
    const PLAIN: &'static str = "public";
    const ID: &'static str = "pid";
}

impl Kind for SealSecret {
    const PLAIN: &'static str = "secret";
    const ID: &'static str = "sid";
}

/// A version that has keys of kind `K`.
pub trait Holds<K: Kind>: Version {
    /// The key, checked, with what each use would otherwise compute again.
    #[doc(hidden)]
    type Material: Send + Sync;

    #[doc(hidden)]
    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey>;

    #[doc(hidden)]
    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>>;

    /// What a password protected, where others protect more forms of a key than one.
    #[doc(hidden)]
    fn parse_protected(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        Self::parse(bytes)
    }
}

/// A version that makes keys of kind `K` from randomness.
pub trait Generates<K: Kind>: Holds<K> {
    #[doc(hidden)]
    fn generate(random: &dyn Random) -> Result<Self::Material, RandomnessUnavailable>;
}

/// A version that mints tokens with keys of kind `K`.
pub trait Mints<K: Kind>: Holds<K> {
    /// The purpose of the tokens.
    type Purpose: Purpose;

    #[doc(hidden)]
    fn seal(
        key: &Self::Material,
        payload: &[u8],
        context: Context<'_>,
        random: &dyn Random,
    ) -> Result<Vec<u8>, RandomnessUnavailable>;
}

/// A version that verifies tokens of purpose `P` with the keys of the same name.
pub trait Opens<P: Purpose + Kind>: Holds<P> {
    /// Authenticates `body` and leaves the payload in the returned part of it.
    #[doc(hidden)]
    fn open(
        key: &Self::Material,
        body: &mut [u8],
        context: Context<'_>,
    ) -> Result<Range<usize>, TokenError>;
}

/// A version whose tokens authenticate an implicit assertion.
pub trait Asserts: Version {}

/// What a token authenticates beside its payload.
#[doc(hidden)]
#[derive(Clone, Copy)]
#[expect(unnameable_types, reason = "seen by the versions alone")]
pub struct Context<'a> {
    pub footer: &'a [u8],
    pub assertion: &'a [u8],
}

pub(crate) mod sealed {
    #[expect(unnameable_types, reason = "that is what seals")]
    pub trait Sealed {}
    impl Sealed for super::Local {}
    impl Sealed for super::Public {}
    impl Sealed for super::Secret {}
    impl Sealed for super::SealPublic {}
    impl Sealed for super::SealSecret {}
    impl Sealed for crate::InsecureV1 {}
    impl Sealed for crate::V2 {}
    impl Sealed for crate::V3 {}
    impl Sealed for crate::V4 {}
    #[cfg(feature = "draft")]
    impl Sealed for crate::V5 {}
    #[cfg(feature = "draft")]
    impl Sealed for crate::V6 {}
}
