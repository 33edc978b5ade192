//! What signs identity tokens: drawn keys of a version, or keys that live in PKCS#11 tokens.

use countersign_hsm::SigningKey;

use super::UnfitIdentityKey;
use super::elsewhere::{Elsewhere, unfit};
use super::published::IdentityKey;
use crate::config::IdentityVersion;

/// What signs, and what is published beside it. It is replaced whole.
#[derive(Default)]
pub(crate) struct Signing {
    version: IdentityVersion,
    keys: Vec<SigningKey>,
    elsewhere: Vec<Elsewhere>,
}

impl Signing {
    /// Tokens of a version, signed by the first of the keys; by drawn ones where there is none. The others are published: they
    /// signed before, or will.
    ///
    /// # Errors
    ///
    /// The first signs another version, or a key signs none.
    pub(crate) fn new(
        version: IdentityVersion,
        keys: Vec<SigningKey>,
    ) -> Result<Self, UnfitIdentityKey> {
        let signer = |key: &SigningKey| {
            Elsewhere::new(key).ok_or_else(|| unfit(key.public_key().algorithm(), version))
        };
        let elsewhere: Vec<_> = keys.iter().map(signer).collect::<Result<_, _>>()?;
        if let Some(first) = elsewhere.first() {
            first.check(version)?;
        }
        Ok(Self {
            version,
            keys,
            elsewhere,
        })
    }

    /// The version of the tokens.
    pub(super) const fn version(&self) -> IdentityVersion {
        self.version
    }

    /// The keys in PKCS#11 tokens.
    pub(crate) fn keys(&self) -> &[SigningKey] {
        &self.keys
    }

    /// What signs instead of the drawn keys.
    pub(super) fn elsewhere(&self) -> Option<&Elsewhere> {
        self.elsewhere.first()
    }

    /// The keys in PKCS#11 tokens as verifiers get them.
    pub(super) fn published(&self) -> impl Iterator<Item = IdentityKey> {
        self.elsewhere.iter().map(Elsewhere::published)
    }
}
