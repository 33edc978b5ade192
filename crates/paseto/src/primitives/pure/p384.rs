use p384::ecdsa::signature::{Signer, Verifier};
use p384::ecdsa::{Signature, SigningKey, VerifyingKey};
use p384::elliptic_curve::sec1::ToSec1Point;
use p384::{PublicKey, SecretKey};
use zeroize::Zeroizing;

use crate::error::InvalidKey;
use crate::primitives::{P384_POINT_LEN, P384_SCALAR_LEN, P384_SIGNATURE_LEN};
use crate::random::{self, Random, RandomnessUnavailable};

/// A point of P-384, decompressed once.
#[derive(Clone)]
pub(crate) struct P384Public {
    key: VerifyingKey,
}

impl P384Public {
    pub(crate) fn from_compressed(point: &[u8; P384_POINT_LEN]) -> Result<Self, InvalidKey> {
        let key = decompress(point).ok_or(InvalidKey::Invalid)?;
        Ok(Self { key: key.into() })
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; P384_SIGNATURE_LEN]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify(message, &signature).is_ok())
    }
}

/// A scalar of P-384, ready to sign and to agree.
pub(crate) struct P384Secret {
    signing: SigningKey,
    agreement: P384Agreement,
}

impl P384Secret {
    pub(crate) fn from_scalar(scalar: &[u8; P384_SCALAR_LEN]) -> Result<Self, InvalidKey> {
        let agreement = P384Agreement::from_scalar(scalar).ok_or(InvalidKey::Invalid)?;
        Ok(Self {
            signing: SigningKey::from(&agreement.private),
            agreement,
        })
    }

    pub(crate) fn agreement(&self) -> &P384Agreement {
        &self.agreement
    }

    /// The signature's own nonce is that of RFC 6979.
    pub(crate) fn sign(
        &self,
        message: &[u8],
    ) -> Result<[u8; P384_SIGNATURE_LEN], RandomnessUnavailable> {
        let signature: Signature = self
            .signing
            .try_sign(message)
            .map_err(|_| RandomnessUnavailable)?;
        Ok(signature.to_bytes().into())
    }
}

/// A scalar of P-384, ready to agree.
pub(crate) struct P384Agreement {
    private: SecretKey,
    public: [u8; P384_POINT_LEN],
}

impl P384Agreement {
    /// A fresh one.
    pub(crate) fn generate(random: &dyn Random) -> Result<Self, RandomnessUnavailable> {
        random::accepted(random, |scalar| Self::from_scalar(&scalar))
    }

    fn from_scalar(scalar: &[u8; P384_SCALAR_LEN]) -> Option<Self> {
        let private = SecretKey::from_slice(scalar).ok()?;
        let public = private.public_key().to_sec1_point(true);
        let public = public.as_bytes().try_into().ok()?;
        Some(Self { private, public })
    }

    /// The point in compressed form.
    pub(crate) fn public(&self) -> &[u8; P384_POINT_LEN] {
        &self.public
    }

    /// The coordinate that both sides share.
    pub(crate) fn agree(&self, peer: &P384Public) -> Option<Zeroizing<[u8; P384_SCALAR_LEN]>> {
        Some(self.agree_with(&peer.key.into()))
    }

    /// As [`agree`](Self::agree), with a point in compressed form; `None` when it is none of the curve.
    pub(crate) fn agree_with_point(
        &self,
        point: &[u8],
    ) -> Option<Zeroizing<[u8; P384_SCALAR_LEN]>> {
        Some(self.agree_with(&decompress(point)?))
    }

    fn agree_with(&self, peer: &PublicKey) -> Zeroizing<[u8; P384_SCALAR_LEN]> {
        let shared = self.private.diffie_hellman(peer);
        Zeroizing::new((*shared.raw_secret_bytes()).into())
    }
}

/// A point in compressed form (SEC 1 section 2.3.4); p384 reads the compact form too, which is a second text of a key.
fn decompress(point: &[u8]) -> Option<PublicKey> {
    match point.first() {
        Some(2 | 3) => PublicKey::from_sec1_bytes(point).ok(),
        _ => None,
    }
}
