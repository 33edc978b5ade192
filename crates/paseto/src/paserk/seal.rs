//! Local keys sealed to a public key: `seal` (PASERK § PKE).

use alloc::string::String;
use alloc::vec::Vec;

use blake2::Blake2b;
use blake2::digest::Digest;
use blake2::digest::consts::U24;
use curve25519_dalek::MontgomeryPoint;
use zeroize::Zeroizing;

use super::pie::Wraps;
use super::suite::{AesCtr, Suite, XChaCha, blake2b_256};
use super::{Confidential, Header};
use crate::encoding;
use crate::error::{InvalidKey, PaserkError};
use crate::key::{Key, Pairs, cut};
use crate::primitives::{P384_POINT_LEN, P384_SCALAR_LEN, P384Agreement, sha384};
use crate::random::{self, Random};
use crate::v2::V2;
use crate::v3::V3;
use crate::v4::V4;
use crate::version::{Holds, Kind, Local, Public, Secret, Version};

impl<V: Seals> Key<V, Local> {
    /// The key as text that only the holder of `to`'s secret key opens, such as `k4.seal.…`. The text is no secret.
    ///
    /// ```
    /// use countersign_paseto::{Key, Local, Secret, SystemRandom, V4};
    ///
    /// let server = Key::<V4, Secret>::generate(&SystemRandom)?;
    /// let key = Key::<V4, Local>::generate(&SystemRandom)?;
    /// let sealed = key.seal(&server.public(), &SystemRandom)?;
    /// let unsealed = Key::unseal(&sealed, &server)?;
    /// assert_eq!(unsealed.id(), key.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PaserkError::Key`] when `to` is weak, [`PaserkError::Randomness`] when `random` fails.
    pub fn seal(&self, to: &Key<V, V::To>, random: &dyn Random) -> Result<String, PaserkError> {
        let mut text = header::<V>().begin(0);
        let (sealed, keys) = V::encapsulate(&to.material, text.as_bytes(), random)?;
        let mut inner = self.expose_secret();
        keys.apply_keystream(&mut inner);
        let tag = keys.tag(&[text.as_bytes(), &sealed, &inner]);
        let data = match V::SEALED_LAST {
            true => [tag.as_ref(), &inner, &sealed].concat(),
            false => [tag.as_ref(), &sealed, &inner].concat(),
        };
        encoding::append(&mut text, &data);
        Ok(text)
    }

    /// The key that `text` holds, sealed to the public half of `secret`.
    ///
    /// # Errors
    ///
    /// [`PaserkError::NotAuthentic`] when it was sealed to another key, or altered.
    pub fn unseal(text: &str, secret: &Key<V, V::With>) -> Result<Self, PaserkError> {
        let (header, mut data) = header::<V>().decode(text)?;
        let (tag, rest) = data
            .split_at_mut_checked(V::Suite::TAG_LEN)
            .ok_or(PaserkError::Malformed)?;
        let (sealed, inner) = cut_sealed::<V>(rest).ok_or(PaserkError::Malformed)?;
        let keys = V::decapsulate(&secret.material, header.as_bytes(), sealed)?;
        keys.check(&[header.as_bytes(), sealed, inner], tag)?;
        keys.apply_keystream(inner);
        Ok(Self::from_bytes(inner)?)
    }
}

impl<V: Seals> Key<V, V::With> {
    /// The key that others seal to; in versions 2, 3 and 4 it is [`Key::public`].
    pub fn recipient(&self) -> Key<V, V::To> {
        Key {
            material: V::recipient(&self.material),
        }
    }
}

fn header<V: Version>() -> Header<2> {
    Header([V::PASERK, "seal"])
}

/// What `V` sealed, and the encrypted key, out of the data after the tag.
fn cut_sealed<V: Seals>(data: &mut [u8]) -> Option<(&mut [u8], &mut [u8])> {
    match V::SEALED_LAST {
        true => {
            let inner_len = data.len().checked_sub(V::SEALED_LEN)?;
            let (inner, sealed) = data.split_at_mut_checked(inner_len)?;
            Some((sealed, inner))
        }
        false => data.split_at_mut_checked(V::SEALED_LEN),
    }
}

/// A version that seals local keys to public keys.
pub trait Seals: Wraps + Holds<<Self as Seals>::To> + Holds<<Self as Seals>::With> {
    /// The kind of key to seal to: [`Public`], or [`SealPublic`](crate::SealPublic) where signing keys cannot do it.
    type To: Kind;
    /// The kind of key to unseal with: [`Secret`] or [`SealSecret`](crate::SealSecret).
    type With: Confidential;

    /// The length of an ephemeral public key or a ciphertext.
    #[doc(hidden)]
    const SEALED_LEN: usize;

    /// Whether it stands behind the encrypted key.
    #[doc(hidden)]
    const SEALED_LAST: bool = false;

    #[doc(hidden)]
    fn recipient(
        secret: &<Self as Holds<Self::With>>::Material,
    ) -> <Self as Holds<Self::To>>::Material;

    /// An ephemeral public key or a ciphertext, and the keys that it shares with `to`.
    #[doc(hidden)]
    fn encapsulate(
        to: &<Self as Holds<Self::To>>::Material,
        header: &[u8],
        random: &dyn Random,
    ) -> Result<(Vec<u8>, Self::Suite), PaserkError>;

    #[doc(hidden)]
    fn decapsulate(
        secret: &<Self as Holds<Self::With>>::Material,
        header: &[u8],
        sealed: &[u8],
    ) -> Result<Self::Suite, PaserkError>;
}

impl Seals for V2 {
    type To = Public;
    type With = Secret;
    const SEALED_LEN: usize = V4::SEALED_LEN;

    fn recipient(secret: &<Self as Holds<Secret>>::Material) -> <Self as Holds<Public>>::Material {
        V2::public(secret)
    }

    fn encapsulate(
        to: &<Self as Holds<Public>>::Material,
        header: &[u8],
        random: &dyn Random,
    ) -> Result<(Vec<u8>, XChaCha), PaserkError> {
        V4::encapsulate(to, header, random)
    }

    fn decapsulate(
        secret: &<Self as Holds<Secret>>::Material,
        header: &[u8],
        ephemeral: &[u8],
    ) -> Result<XChaCha, PaserkError> {
        V4::decapsulate(secret, header, ephemeral)
    }
}

impl Seals for V4 {
    type To = Public;
    type With = Secret;
    const SEALED_LEN: usize = 32;

    fn recipient(secret: &<Self as Holds<Secret>>::Material) -> <Self as Holds<Public>>::Material {
        V4::public(secret)
    }

    fn encapsulate(
        to: &<Self as Holds<Public>>::Material,
        header: &[u8],
        random: &dyn Random,
    ) -> Result<(Vec<u8>, XChaCha), PaserkError> {
        let to = to.point()?.to_montgomery();
        let scalar = Zeroizing::new(random::bytes::<32>(random)?);
        let ephemeral = MontgomeryPoint::mul_base_clamped(*scalar);
        let shared = Zeroizing::new(to.mul_clamped(*scalar).to_bytes());
        let keys = x25519_keys(header, &shared, ephemeral.as_bytes(), to.as_bytes());
        Ok((ephemeral.to_bytes().to_vec(), keys))
    }

    fn decapsulate(
        secret: &<Self as Holds<Secret>>::Material,
        header: &[u8],
        ephemeral: &[u8],
    ) -> Result<XChaCha, PaserkError> {
        let ephemeral = MontgomeryPoint(ephemeral.try_into().map_err(|_| PaserkError::Malformed)?);
        let (scalar, public) = secret.x25519()?;
        let shared = Zeroizing::new(ephemeral.mul_clamped(*scalar).to_bytes());
        if *shared == [0; 32] {
            return Err(PaserkError::NotAuthentic);
        }
        Ok(x25519_keys(
            header,
            &shared,
            ephemeral.as_bytes(),
            public.as_bytes(),
        ))
    }
}

fn x25519_keys(header: &[u8], shared: &[u8; 32], ephemeral: &[u8; 32], to: &[u8; 32]) -> XChaCha {
    let mut nonce = Blake2b::<U24>::default();
    nonce.update(ephemeral);
    nonce.update(to);
    XChaCha {
        encryption: blake2b_256(&[&[1], header, shared, ephemeral, to]),
        nonce: nonce.finalize().into(),
        authentication: blake2b_256(&[&[2], header, shared, ephemeral, to]),
    }
}

impl Seals for V3 {
    type To = Public;
    type With = Secret;
    const SEALED_LEN: usize = P384_POINT_LEN;

    fn recipient(secret: &<Self as Holds<Secret>>::Material) -> <Self as Holds<Public>>::Material {
        V3::public(secret)
    }

    fn encapsulate(
        to: &<Self as Holds<Public>>::Material,
        header: &[u8],
        random: &dyn Random,
    ) -> Result<(Vec<u8>, AesCtr), PaserkError> {
        let secret = P384Agreement::generate(random)?;
        let shared = secret.agree(&to.key).ok_or(InvalidKey::Invalid)?;
        let keys = p384_keys(header, &shared, secret.public(), &to.compressed);
        Ok((secret.public().to_vec(), keys))
    }

    fn decapsulate(
        secret: &<Self as Holds<Secret>>::Material,
        header: &[u8],
        sealed: &[u8],
    ) -> Result<AesCtr, PaserkError> {
        let shared = secret.pair.agreement().agree_with_point(sealed);
        let shared = shared.ok_or(PaserkError::NotAuthentic)?;
        Ok(p384_keys(
            header,
            &shared,
            sealed,
            &secret.public.compressed,
        ))
    }
}

fn p384_keys(
    header: &[u8],
    shared: &[u8; P384_SCALAR_LEN],
    ephemeral: &[u8],
    to: &[u8; P384_POINT_LEN],
) -> AesCtr {
    let split = sha384(&[&[1], header, shared, ephemeral, to]);
    let authentication = sha384(&[&[2], header, shared, ephemeral, to]);
    let (encryption, counter) = cut(&*split);
    AesCtr::new(encryption, counter, &*authentication)
}
