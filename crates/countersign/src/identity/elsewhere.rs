//! Identity tokens whose signing key lives in a PKCS#11 token.

use std::time::Duration;

use countersign_hsm::{HsmError, KeyAlgorithm, SigningKey};
use countersign_paseto::{
    Claims, Envelope, Key, KeyId, MintError, Public, SignError, Signer, SignsElsewhere, V4, V5,
};
use jiff::Timestamp;
use serde::Serialize;

use super::published::IdentityKey;
use crate::config::IdentityVersion;
use crate::report::Report;

/// A key that signs elsewhere.
pub(super) enum Elsewhere {
    V4(TokenSigner<V4>),
    V5(TokenSigner<V5>),
}

/// Why there is no identity token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum IdentityError {
    /// No key is in its time, or there is no randomness.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The token that holds the key is lost, busy or silent.
    #[error(transparent)]
    Token(#[from] HsmError),
    /// The token gave no signature in time.
    #[error("the PKCS#11 token `{token}` has not signed for {} seconds", WAIT.as_secs())]
    Slow {
        /// The token.
        token: String,
    },
    /// The token gave something else.
    #[error("what the PKCS#11 token `{token}` gave is no signature of its key `{key}`")]
    WrongSignature {
        /// The token.
        token: String,
        /// The id of the key.
        key: KeyId,
    },
}

/// The key cannot sign identity tokens.
#[derive(Debug, thiserror::Error)]
#[error(
    "the key `identity` of `[keys]` is {found}, which does not sign identity tokens of version `{version}`"
)]
pub(crate) struct UnfitIdentityKey {
    found: KeyAlgorithm,
    version: IdentityVersion,
}

impl Report for UnfitIdentityKey {
    fn hint(&self) -> Option<String> {
        Some(match (self.found, self.version) {
            (KeyAlgorithm::Ed25519, _) => "set `version = \"v4\"` in `[identity]`".to_owned(),
            (KeyAlgorithm::MlDsa87, _) => "set `version = \"v5\"` in `[identity]`".to_owned(),
            (_, IdentityVersion::V4) => "name an Ed25519 key".to_owned(),
            (_, IdentityVersion::V5) => "name an ML-DSA-87 key".to_owned(),
        })
    }
}

impl Elsewhere {
    /// The signer of a version.
    pub(super) fn new(key: &SigningKey) -> Option<Self> {
        let raw = key.public_key().raw();
        match key.public_key().algorithm() {
            KeyAlgorithm::Ed25519 => {
                let public = Key::<V4, Public>::from_bytes(raw).ok()?;
                let id = public.id();
                Some(Self::V4(TokenSigner::new(key, public, id)))
            }
            KeyAlgorithm::MlDsa87 => {
                let public = Key::<V5, Public>::from_bytes(raw).ok()?;
                let id = public.id();
                Some(Self::V5(TokenSigner::new(key, public, id)))
            }
            _ => None,
        }
    }

    /// Refuses another version than the key's.
    pub(super) fn check(&self, version: IdentityVersion) -> Result<(), UnfitIdentityKey> {
        match (self, version) {
            (Self::V4(_), IdentityVersion::V4) | (Self::V5(_), IdentityVersion::V5) => Ok(()),
            (Self::V4(_), _) => Err(unfit(KeyAlgorithm::Ed25519, version)),
            (Self::V5(_), _) => Err(unfit(KeyAlgorithm::MlDsa87, version)),
        }
    }

    /// Mints a token. The signature is checked before it is given out.
    pub(super) async fn mint<C: Serialize + Sync>(
        &self,
        claims: &Claims<C>,
    ) -> Result<String, IdentityError> {
        match self {
            Self::V4(signer) => signer.mint(claims).await,
            Self::V5(signer) => signer.mint(claims).await,
        }
    }

    /// The key as verifiers get it: for as long as the configuration names it.
    pub(super) fn published(&self) -> IdentityKey {
        let (kid, paserk) = match self {
            Self::V4(signer) => (&signer.id, signer.public.to_paserk()),
            Self::V5(signer) => (&signer.id, signer.public.to_paserk()),
        };
        IdentityKey {
            kid: kid.to_string(),
            paserk: paserk.as_str().to_owned(),
            not_before: Timestamp::UNIX_EPOCH,
            not_after: NO_END,
        }
    }
}

/// What a key that signs no version is told.
pub(super) fn unfit(found: KeyAlgorithm, version: IdentityVersion) -> UnfitIdentityKey {
    UnfitIdentityKey { found, version }
}

/// A key in a token, for one version of PASETO.
pub(super) struct TokenSigner<V: SignsElsewhere> {
    key: SigningKey,
    public: Key<V, Public>,
    id: KeyId,
    footer: String,
}

impl<V: SignsElsewhere> TokenSigner<V>
where
    Key<V, Public>: Send + Sync,
{
    fn new(key: &SigningKey, public: Key<V, Public>, id: KeyId) -> Self {
        let (key, footer) = (key.clone(), id.to_footer());
        Self {
            key,
            public,
            id,
            footer,
        }
    }

    async fn mint<C: Serialize + Sync>(&self, claims: &Claims<C>) -> Result<String, IdentityError> {
        let envelope = Envelope {
            footer: self.footer.as_bytes(),
            // None: these keys sign nothing else, and not every library has assertions.
            assertion: b"",
        };
        let token = || self.key.token().label().to_owned();
        let minted = tokio::time::timeout(WAIT, claims.mint_elsewhere(self, envelope)).await;
        let minted = minted.map_err(|_| IdentityError::Slow { token: token() })?;
        minted.map_err(|error| match error {
            SignError::Mint(error) => error.into(),
            SignError::Signer(error) => error.into(),
            _ => IdentityError::WrongSignature {
                token: token(),
                key: self.id.clone(),
            },
        })
    }
}

impl<V: SignsElsewhere> Signer<V> for TokenSigner<V>
where
    Key<V, Public>: Send + Sync,
{
    type Error = HsmError;

    fn public(&self) -> &Key<V, Public> {
        &self.public
    }

    async fn sign(&self, message: Vec<u8>) -> Result<Vec<u8>, HsmError> {
        self.key.sign_in_task(message).await
    }
}

/// How long a request waits for a signature. A token that is known to be lost is not waited for.
const WAIT: Duration = Duration::from_secs(3);

/// 9999-12-30: such a key has no end that is known (RFC 5280 section 4.1.2.5 has a like one), and jiff's time ends there.
const NO_END: Timestamp = Timestamp::constant(253_402_128_000, 0);
