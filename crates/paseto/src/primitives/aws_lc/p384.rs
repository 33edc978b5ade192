use aws_lc_rs::agreement::{self, ECDH_P384, UnparsedPublicKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, ParsedPublicKey,
};
use zeroize::Zeroizing;

use crate::error::InvalidKey;
use crate::prepared::{Of, Prepared};
use crate::primitives::{P384_POINT_LEN, P384_SCALAR_LEN, P384_SIGNATURE_LEN};
use crate::random::{self, Random, RandomnessUnavailable};

/// A point of P-384, decompressed once to verify and once to agree.
#[derive(Clone)]
pub(crate) struct P384Public(Prepared<ParsedPublicKey, Peer>);

/// The point as AWS-LC has it for agreements; `None` when that refuses what it took for signatures.
#[derive(Clone)]
struct Peer(Option<agreement::ParsedPublicKey>);

impl Of<ParsedPublicKey> for Peer {
    fn of(parsed: &ParsedPublicKey) -> Self {
        Self(UnparsedPublicKey::new(&ECDH_P384, parsed).try_into().ok())
    }
}

impl P384Public {
    pub(crate) fn from_compressed(point: &[u8; P384_POINT_LEN]) -> Result<Self, InvalidKey> {
        let parsed = ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
            .map_err(|_| InvalidKey::Invalid)?;
        Ok(Self(Prepared::new(parsed)))
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; P384_SIGNATURE_LEN]) -> bool {
        self.0.source().verify_sig(message, signature).is_ok()
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
    /// A fresh one. AWS-LC checks a scalar that it is given by computing its point twice, and one of its own making not.
    pub(crate) fn generate(random: &dyn Random) -> Result<Self, RandomnessUnavailable> {
        if random.is_system() {
            let private = agreement::PrivateKey::generate(&ECDH_P384).ok();
            let made = private.and_then(Self::with_point);
            return made.map(|(made, _)| made).ok_or(RandomnessUnavailable);
        }
        random::accepted(random, |scalar: Zeroizing<[u8; P384_SCALAR_LEN]>| {
            Self::read(&*scalar).map(|(made, _)| made)
        })
    }

    fn read(scalar: &[u8]) -> Option<(Self, agreement::PublicKey)> {
        let private = agreement::PrivateKey::from_private_key(&ECDH_P384, scalar).ok()?;
        Self::with_point(private)
    }

    fn with_point(private: agreement::PrivateKey) -> Option<(Self, agreement::PublicKey)> {
        let point = private.compute_public_key().ok()?;
        let public = compressed(point.as_ref())?;
        Some((Self { private, public }, point))
    }

    /// The point in compressed form.
    pub(crate) fn public(&self) -> &[u8; P384_POINT_LEN] {
        &self.public
    }

    /// The coordinate that both sides share.
    pub(crate) fn agree(&self, peer: &P384Public) -> Option<Zeroizing<[u8; P384_SCALAR_LEN]>> {
        self.agree_with(peer.0.get().0.clone()?)
    }

    /// As [`agree`](Self::agree), with a point in compressed form; `None` when it is none of the curve.
    pub(crate) fn agree_with_point(
        &self,
        point: &[u8],
    ) -> Option<Zeroizing<[u8; P384_SCALAR_LEN]>> {
        self.agree_with(UnparsedPublicKey::new(&ECDH_P384, point))
    }

    fn agree_with(
        &self,
        peer: impl TryInto<agreement::ParsedPublicKey>,
    ) -> Option<Zeroizing<[u8; P384_SCALAR_LEN]>> {
        let agreed = agreement::agree(&self.private, peer, (), |shared| {
            let shared = shared.try_into().map_err(|_| ())?;
            Ok(Zeroizing::new(shared))
        });
        agreed.ok()
    }
}

/// The compressed form of an uncompressed point (SEC 1 section 2.3.3). AWS-LC would divide for it a second time.
fn compressed(point: &[u8]) -> Option<[u8; P384_POINT_LEN]> {
    let [4, coordinates @ ..] = point else {
        return None;
    };
    let (x, y) = coordinates.split_at_checked(P384_SCALAR_LEN)?;
    let mut compressed = [2 + (y.last()? & 1); P384_POINT_LEN];
    compressed.split_first_mut()?.1.copy_from_slice(x);
    Some(compressed)
}
