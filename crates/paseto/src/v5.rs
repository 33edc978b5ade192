//! Version 5, a draft: local tokens as version 3 has them, ML-DSA-87, and ML-KEM-1024 to seal keys.

use alloc::vec::Vec;
use core::ops::Range;

use ml_kem::kem::{KeyExport, TryDecapsulate, TryKeyInit};
use ml_kem::{DecapsulationKey1024, EncapsulationKey1024};
use zeroize::Zeroizing;

use crate::encoding::pae_vec;
use crate::error::{InvalidKey, PaserkError, TokenError};
use crate::key::{Pairs, cut, sized};
use crate::paserk::suite::AesCtr;
use crate::paserk::{HASH_LEN, Identifies, Pbkdf2, Protects, Seals, Wraps};
use crate::primitives::{
    ML_DSA_PUBLIC_LEN, ML_DSA_SIGNATURE_LEN, MlDsaPublic, MlDsaSecret, sha384,
};
use crate::random::{self, Random, RandomnessUnavailable};
use crate::signer::SignsElsewhere;
use crate::v3::{LocalKey, V3};
use crate::version::{
    Asserts, Context, Generates, Holds, Local, Mints, Opens, Public, SealPublic, SealSecret,
    Secret, Version,
};

/// Version 5, a draft: AES-256-CTR and HMAC-SHA-384, ML-DSA-87.
///
/// Tokens of both purposes are safe against quantum computers. Nothing about it is stable until the specification is:
/// see [`Version::DRAFT_REVISION`]. A public token has some 6,400 bytes.
///
/// Keys are sealed to keys of their own, [`SealPublic`], which a [`Public`] one is not:
///
/// ```
/// use countersign_paseto::{Key, Local, SealSecret, SystemRandom, V5};
///
/// let server = Key::<V5, SealSecret>::generate(&SystemRandom)?;
/// let key = Key::<V5, Local>::generate(&SystemRandom)?;
/// let sealed = key.seal(&server.recipient(), &SystemRandom)?;
/// assert_eq!(Key::unseal(&sealed, &server)?.id(), key.id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// ```compile_fail,E0308
/// use countersign_paseto::{Key, Local, Public, SystemRandom, V5};
///
/// fn seal(key: &Key<V5, Local>, to: &Key<V5, Public>) {
///     key.seal(to, &SystemRandom).unwrap();
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum V5 {}

impl Version for V5 {
    const TOKEN: &'static str = "v5";
    const PASERK: &'static str = "k5";
    const DRAFT_REVISION: Option<&'static str> = Some(REVISION);
}

impl Asserts for V5 {}

impl Identifies for V5 {
    fn hash_id(pieces: &[&[u8]]) -> [u8; HASH_LEN] {
        V3::hash_id(pieces)
    }
}

impl Holds<Local> for V5 {
    type Material = LocalKey;

    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        <V3 as Holds<Local>>::parse(bytes)
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        <V3 as Holds<Local>>::serialize(material)
    }
}

impl Generates<Local> for V5 {
    fn generate(random: &dyn Random) -> Result<Self::Material, RandomnessUnavailable> {
        <V3 as Generates<Local>>::generate(random)
    }
}

impl Mints<Local> for V5 {
    type Purpose = Local;

    fn seal(
        key: &Self::Material,
        payload: &[u8],
        context: Context<'_>,
        random: &dyn Random,
    ) -> Result<Vec<u8>, RandomnessUnavailable> {
        key.encrypt(b"v5.local.", payload, context, random)
    }
}

impl Opens<Local> for V5 {
    fn open(
        key: &Self::Material,
        body: &mut [u8],
        context: Context<'_>,
    ) -> Result<Range<usize>, TokenError> {
        key.decrypt(b"v5.local.", body, context)
    }
}

/// An ML-DSA-87 public key (FIPS 204), read once.
#[derive(Clone)]
#[expect(unnameable_types, reason = "key material is seen through `Key` alone")]
pub struct VerifyingKey {
    key: MlDsaPublic,
    bytes: Vec<u8>,
}

impl Holds<Public> for V5 {
    type Material = VerifyingKey;

    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        let key = MlDsaPublic::from_bytes(sized::<ML_DSA_PUBLIC_LEN>(bytes)?)?;
        let bytes = bytes.to_vec();
        Ok(VerifyingKey { key, bytes })
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(material.bytes.clone())
    }
}

impl Opens<Public> for V5 {
    fn open(
        key: &Self::Material,
        body: &mut [u8],
        context: Context<'_>,
    ) -> Result<Range<usize>, TokenError> {
        let (payload, signature) = body
            .split_last_chunk::<ML_DSA_SIGNATURE_LEN>()
            .ok_or(TokenError::NotAuthentic)?;
        match key
            .key
            .verify(&V5::message(key, payload, context), signature)
        {
            true => Ok(0..payload.len()),
            false => Err(TokenError::NotAuthentic),
        }
    }
}

/// An ML-DSA-87 key pair, expanded once, and its seed.
#[expect(unnameable_types, reason = "key material is seen through `Key` alone")]
pub struct SigningKey {
    pair: MlDsaSecret,
    seed: Zeroizing<[u8; 32]>,
    public: VerifyingKey,
}

impl SigningKey {
    fn from_seed(seed: Zeroizing<[u8; 32]>) -> Result<Self, InvalidKey> {
        let pair = MlDsaSecret::from_seed(&seed)?;
        let public = <V5 as Holds<Public>>::parse(pair.public())?;
        Ok(Self { pair, seed, public })
    }
}

impl Holds<Secret> for V5 {
    type Material = SigningKey;

    /// The seed (FIPS 204 section 3.6.3).
    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        SigningKey::from_seed(Zeroizing::new(*sized(bytes)?))
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(material.seed.to_vec())
    }
}

impl Generates<Secret> for V5 {
    fn generate(random: &dyn Random) -> Result<Self::Material, RandomnessUnavailable> {
        let seed = Zeroizing::new(random::bytes(random)?);
        Ok(SigningKey::from_seed(seed).expect("any 32 bytes are a seed"))
    }
}

impl Pairs for V5 {
    fn public(secret: &SigningKey) -> VerifyingKey {
        secret.public.clone()
    }
}

impl Mints<Secret> for V5 {
    type Purpose = Public;

    fn seal(
        key: &Self::Material,
        payload: &[u8],
        context: Context<'_>,
        _random: &dyn Random,
    ) -> Result<Vec<u8>, RandomnessUnavailable> {
        let message = V5::message(&key.public, payload, context);
        Ok([payload, &key.pair.sign(&message)?].concat())
    }
}

impl SignsElsewhere for V5 {
    fn message(key: &VerifyingKey, payload: &[u8], context: Context<'_>) -> Vec<u8> {
        pae_vec(&[
            &key.bytes,
            b"v5.public.",
            payload,
            context.footer,
            context.assertion,
        ])
    }

    fn sign(key: &SigningKey, message: &[u8]) -> Option<Vec<u8>> {
        key.pair
            .sign(message)
            .ok()
            .map(|signature| signature.to_vec())
    }
}

impl Wraps for V5 {
    type Suite = AesCtr;

    fn wrapping_keys(material: &Self::Material, nonce: &[u8; 32]) -> AesCtr {
        AesCtr::of_wrapping(material.wrapping(), nonce)
    }
}

impl Protects for V5 {
    type Work = Pbkdf2;
    const SALT_LEN: usize = 32;
}

impl Holds<SealPublic> for V5 {
    type Material = EncapsulationKey1024;

    /// An encapsulation key (FIPS 203 section 7.2: its coefficients are reduced).
    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        sized::<SEAL_PUBLIC_LEN>(bytes)?;
        EncapsulationKey1024::new_from_slice(bytes).map_err(|_| InvalidKey::Invalid)
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(material.to_bytes().to_vec())
    }
}

impl Holds<SealSecret> for V5 {
    type Material = DecapsulationKey1024;

    /// The seed, d and z (FIPS 203 section 7.1).
    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        let seed = Zeroizing::new(*sized::<64>(bytes)?);
        Ok(DecapsulationKey1024::from_seed((*seed).into()))
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        let mut seed = material.to_seed().expect("it was made from a seed");
        let bytes = Zeroizing::new(seed.to_vec());
        zeroize::Zeroize::zeroize(seed.as_mut_slice());
        bytes
    }
}

impl Generates<SealSecret> for V5 {
    fn generate(random: &dyn Random) -> Result<Self::Material, RandomnessUnavailable> {
        let seed = Zeroizing::new(random::bytes::<64>(random)?);
        Ok(DecapsulationKey1024::from_seed((*seed).into()))
    }
}

impl Seals for V5 {
    type To = SealPublic;
    type With = SealSecret;
    const SEALED_LEN: usize = 1568;

    fn recipient(secret: &DecapsulationKey1024) -> EncapsulationKey1024 {
        secret.encapsulation_key().clone()
    }

    fn encapsulate(
        to: &EncapsulationKey1024,
        header: &[u8],
        random: &dyn Random,
    ) -> Result<(Vec<u8>, AesCtr), PaserkError> {
        let message = Zeroizing::new(random::bytes::<32>(random)?);
        let (ciphertext, shared) = to.encapsulate_deterministic(&(*message).into());
        let shared = Zeroizing::new(<[u8; 32]>::from(shared));
        let keys = keys(header, &*shared, &ciphertext, to);
        Ok((ciphertext.to_vec(), keys))
    }

    /// An altered ciphertext gives keys that nobody has (FIPS 203 section 6.3: implicit rejection).
    fn decapsulate(
        secret: &DecapsulationKey1024,
        header: &[u8],
        sealed: &[u8],
    ) -> Result<AesCtr, PaserkError> {
        let ciphertext = sealed.try_into().map_err(|_| PaserkError::Malformed)?;
        let shared = secret
            .try_decapsulate(&ciphertext)
            .map_err(|_| PaserkError::NotAuthentic)?;
        let shared = Zeroizing::new(<[u8; 32]>::from(shared));
        Ok(keys(header, &*shared, sealed, secret.encapsulation_key()))
    }
}

/// PASERK § PKE in the draft: SHA-384 over the shared key, the ciphertext and the recipient.
fn keys(header: &[u8], shared: &[u8], sealed: &[u8], to: &EncapsulationKey1024) -> AesCtr {
    let to = to.to_bytes();
    let split = sha384(&[&[1], header, shared, sealed, &to]);
    let authentication = sha384(&[&[2], header, shared, sealed, &to]);
    let (encryption, counter) = cut(&*split);
    AesCtr::new(encryption, counter, &*authentication)
}

/// The pull requests that are the draft of versions 5 and 6, and when they were last read.
pub(crate) const REVISION: &str = "paseto-spec#36 paserk#22 2026-05";

const SEAL_PUBLIC_LEN: usize = 1568;
