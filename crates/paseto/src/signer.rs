//! Signing where the key is: an HSM, a key management service, an agent's socket.

use alloc::string::String;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;

use serde::Serialize;

use crate::claims::Claims;
use crate::error::MintError;
use crate::key::{Key, Pairs};
use crate::token::{self, Envelope};
use crate::v3::V3;
use crate::v4::V4;
use crate::version::{Asserts, Context, Holds, Mints, Opens, Public, Secret};

/// Holds a secret key somewhere and signs with it.
///
/// [`MemorySigner`] is the one for tests and for keys that are at hand.
///
/// ```
/// use countersign_paseto::{Claims, Envelope, Key, Public, SignError, Signer, V4};
/// # struct Unreachable;
/// # async fn ask_service(_: &str, _: Vec<u8>) -> Result<Vec<u8>, Unreachable> { Err(Unreachable) }
///
/// struct KeyService { key_name: String, public: Key<V4, Public> }
///
/// impl Signer<V4> for KeyService {
///     type Error = Unreachable;
///
///     fn public(&self) -> &Key<V4, Public> {
///         &self.public
///     }
///
///     async fn sign(&self, message: Vec<u8>) -> Result<Vec<u8>, Unreachable> {
///         ask_service(&self.key_name, message).await
///     }
/// }
///
/// async fn mint(claims: &Claims<()>, service: &KeyService) -> Result<String, SignError<Unreachable>> {
///     claims.mint_elsewhere(service, Envelope::default()).await
/// }
/// ```
pub trait Signer<V: SignsElsewhere>: Sync {
    /// Why there is no signature.
    type Error: Send;

    /// The key that verifies what this one signs.
    fn public(&self) -> &Key<V, Public>;

    /// The signature over `message`: Ed25519 in 64 bytes, ECDSA over its SHA-384 as r and s in 96; for the drafts ML-DSA-87 in
    /// 4,627 or SLH-DSA-SHA2-128s in 7,856, pure and with an empty context.
    fn sign(&self, message: Vec<u8>) -> impl Future<Output = Result<Vec<u8>, Self::Error>> + Send;
}

/// A version whose signatures can be made elsewhere.
pub trait SignsElsewhere:
    Pairs + Asserts + Opens<Public> + Mints<Secret, Purpose = Public>
{
    /// The pre-authenticated bytes that a signature covers.
    #[doc(hidden)]
    fn message(
        public: &<Self as Holds<Public>>::Material,
        payload: &[u8],
        context: Context<'_>,
    ) -> Vec<u8>;

    #[doc(hidden)]
    fn sign(secret: &<Self as Holds<Secret>>::Material, message: &[u8]) -> Option<Vec<u8>>;
}

impl SignsElsewhere for V3 {
    fn message(
        public: &<Self as Holds<Public>>::Material,
        payload: &[u8],
        context: Context<'_>,
    ) -> Vec<u8> {
        crate::v3::signed(&public.compressed, payload, context)
    }

    fn sign(secret: &<Self as Holds<Secret>>::Material, message: &[u8]) -> Option<Vec<u8>> {
        let signature = secret.pair.sign(message).ok()?;
        Some(signature.to_vec())
    }
}

impl SignsElsewhere for V4 {
    fn message(
        _public: &<Self as Holds<Public>>::Material,
        payload: &[u8],
        context: Context<'_>,
    ) -> Vec<u8> {
        crate::v4::signed(payload, context)
    }

    fn sign(secret: &<Self as Holds<Secret>>::Material, message: &[u8]) -> Option<Vec<u8>> {
        Some(secret.sign(message).to_vec())
    }
}

impl<C: Serialize + Sync> Claims<C> {
    /// Mints a public token whose signature is made by `signer`, and checked before the token is released.
    ///
    /// # Errors
    ///
    /// [`SignError`].
    pub async fn mint_elsewhere<V: SignsElsewhere, S: Signer<V>>(
        &self,
        signer: &S,
        envelope: Envelope<'_>,
    ) -> Result<String, SignError<S::Error>> {
        let payload = self.to_json()?;
        let context = Context {
            footer: envelope.footer,
            assertion: envelope.assertion,
        };
        let message = V::message(&signer.public().material, &payload, context);
        let signature = signer.sign(message).await.map_err(SignError::Signer)?;
        let mut body = [payload.as_slice(), &signature].concat();
        match V::open(&signer.public().material, &mut body, context) {
            Ok(signed) if signed.len() == payload.len() => {
                Ok(token::write::<V, Public>(&body, envelope.footer))
            }
            _ => Err(SignError::WrongSignature),
        }
    }
}

/// A [`Signer`] whose key is in memory.
pub struct MemorySigner<V: SignsElsewhere> {
    secret: Key<V, Secret>,
    public: Key<V, Public>,
}

impl<V: SignsElsewhere> MemorySigner<V> {
    /// A signer with this key.
    pub fn new(secret: Key<V, Secret>) -> Self {
        let public = secret.public();
        Self { secret, public }
    }
}

impl<V: SignsElsewhere> fmt::Debug for MemorySigner<V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MemorySigner({})", V::PASERK)
    }
}

impl<V: SignsElsewhere> Signer<V> for MemorySigner<V> {
    type Error = Infallible;

    fn public(&self) -> &Key<V, Public> {
        &self.public
    }

    async fn sign(&self, message: Vec<u8>) -> Result<Vec<u8>, Infallible> {
        // nothing signed is a wrong signature to the caller, who checks
        Ok(V::sign(&self.secret.material, &message).unwrap_or_default())
    }
}

/// No token was minted with a [`Signer`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError<E> {
    /// The claims are not in order.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The signer failed.
    #[error("the signer failed")]
    Signer(E),
    /// What the signer gave is not a signature of these claims under its public key.
    #[error("the signer's signature does not verify")]
    WrongSignature,
}
