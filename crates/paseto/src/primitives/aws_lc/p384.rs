use aws_lc_rs::agreement::{self, ECDH_P384, UnparsedPublicKey};
use aws_lc_rs::encoding::{AsBigEndian, EcPublicKeyCompressedBin};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, ParsedPublicKey,
};
use zeroize::Zeroizing;

use crate::error::InvalidKey;
use crate::primitives::{P384_POINT_LEN, P384_SCALAR_LEN, P384_SIGNATURE_LEN};
use crate::random::RandomnessUnavailable;

/// A point of P-384, decompressed once.
#[derive(Clone)]
pub(crate) struct P384Public {
    parsed: ParsedPublicKey,
}

impl P384Public {
    pub(crate) fn from_compressed(point: &[u8; P384_POINT_LEN]) -> Result<Self, InvalidKey> {
        let parsed = ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
            .map_err(|_| InvalidKey::Invalid)?;
        Ok(Self { parsed })
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; P384_SIGNATURE_LEN]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }
}

/// A scalar of P-384, ready to sign and to agree.
pub(crate) struct P384Secret {
    pair: EcdsaKeyPair,
    agreement: P384Agreement,
}

impl P384Secret {
    pub(crate) fn from_scalar(scalar: &[u8; P384_SCALAR_LEN]) -> Result<Self, InvalidKey> {
        Self::read(scalar).ok_or(InvalidKey::Invalid)
    }

    fn read(scalar: &[u8]) -> Option<Self> {
        let (agreement, point) = P384Agreement::read(scalar)?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P384_SHA384_FIXED_SIGNING,
            scalar,
            point.as_ref(),
        );
        Some(Self {
            pair: pair.ok()?,
            agreement,
        })
    }

    pub(crate) fn agreement(&self) -> &P384Agreement {
        &self.agreement
    }

    /// The signature's own nonce comes from AWS-LC, which takes no other source.
    pub(crate) fn sign(
        &self,
        message: &[u8],
    ) -> Result<[u8; P384_SIGNATURE_LEN], RandomnessUnavailable> {
        let signature = self
            .pair
            .sign(&SystemRandom::new(), message)
            .map_err(|_| RandomnessUnavailable)?;
        signature
            .as_ref()
            .try_into()
            .map_err(|_| RandomnessUnavailable)
    }
}

/// A scalar of P-384, ready to agree.
pub(crate) struct P384Agreement {
    private: agreement::PrivateKey,
    public: [u8; P384_POINT_LEN],
}

impl P384Agreement {
    pub(crate) fn from_scalar(scalar: &[u8; P384_SCALAR_LEN]) -> Result<Self, InvalidKey> {
        let (agreement, _) = Self::read(scalar).ok_or(InvalidKey::Invalid)?;
        Ok(agreement)
    }

    fn read(scalar: &[u8]) -> Option<(Self, agreement::PublicKey)> {
        let private = agreement::PrivateKey::from_private_key(&ECDH_P384, scalar).ok()?;
        let point = private.compute_public_key().ok()?;
        let compressed: EcPublicKeyCompressedBin<'_> = point.as_be_bytes().ok()?;
        let public = compressed.as_ref().try_into().ok()?;
        Some((Self { private, public }, point))
    }

    /// The point in compressed form.
    pub(crate) fn public(&self) -> &[u8; P384_POINT_LEN] {
        &self.public
    }

    /// The coordinate that both sides share; `None` when `peer` is no point of the curve.
    pub(crate) fn agree(&self, peer: &[u8]) -> Option<Zeroizing<[u8; P384_SCALAR_LEN]>> {
        let peer = UnparsedPublicKey::new(&ECDH_P384, peer);
        let agreed = agreement::agree(&self.private, peer, (), |shared| {
            let shared = shared.try_into().map_err(|_| ())?;
            Ok(Zeroizing::new(shared))
        });
        agreed.ok()
    }
}
