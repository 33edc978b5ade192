//! Version 6, a draft: local tokens as version 4 has them, SLH-DSA-SHA2-128s, and X-Wing to seal keys.

use alloc::vec::Vec;
use core::ops::Range;

use blake2::Blake2b;
use blake2::digest::Digest;
use blake2::digest::consts::U24;
use slh_dsa::{Sha2_128s, Signature};
use subtle::ConstantTimeEq;
use x_wing::{Decapsulate, DecapsulationKey, Decapsulator, EncapsulationKey, KeyExport};
use zeroize::Zeroizing;

use crate::encoding::pae_vec;
use crate::error::{InvalidKey, PaserkError, TokenError};
use crate::key::{Key, Pairs, sized};
use crate::paserk::suite::{XChaCha, blake2b_256};
use crate::paserk::{Argon2id, HASH_LEN, Identifies, Protects, Seals, Wraps};
use crate::random::{self, Random, RandomnessUnavailable};
use crate::signer::SignsElsewhere;
use crate::v4::V4;
use crate::v5::REVISION;
use crate::version::{
    Asserts, Context, Generates, Holds, Local, Mints, Opens, Public, SealPublic, SealSecret,
    Secret, Version,
};

/// Version 6, a draft: XChaCha20 and BLAKE2b, SLH-DSA-SHA2-128s.
///
/// Tokens of both purposes are safe against quantum computers, and public ones rest on hashes alone. Nothing about it is
/// stable until the specification is: see [`Version::DRAFT_REVISION`]. A public token has some 10,800 bytes, more than HTTP
/// servers take as a header, and signing one takes a sixth of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum V6 {}

impl Version for V6 {
    const TOKEN: &'static str = "v6";
    const PASERK: &'static str = "k6";
    const DRAFT_REVISION: Option<&'static str> = Some(REVISION);
}

impl Asserts for V6 {}

impl Identifies for V6 {
    fn hash_id(pieces: &[&[u8]]) -> [u8; HASH_LEN] {
        V4::hash_id(pieces)
    }
}

impl Holds<Local> for V6 {
    type Material = <V4 as Holds<Local>>::Material;

    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        <V4 as Holds<Local>>::parse(bytes)
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        <V4 as Holds<Local>>::serialize(material)
    }
}

impl Generates<Local> for V6 {
    fn generate(random: &dyn Random) -> Result<Self::Material, RandomnessUnavailable> {
        <V4 as Generates<Local>>::generate(random)
    }
}

impl Mints<Local> for V6 {
    type Purpose = Local;

    fn seal(
        key: &Self::Material,
        payload: &[u8],
        context: Context<'_>,
        random: &dyn Random,
    ) -> Result<Vec<u8>, RandomnessUnavailable> {
        key.encrypt(b"v6.local.", payload, context, random)
    }
}

impl Opens<Local> for V6 {
    fn open(
        key: &Self::Material,
        body: &mut [u8],
        context: Context<'_>,
    ) -> Result<Range<usize>, TokenError> {
        key.decrypt(b"v6.local.", body, context)
    }
}

/// An SLH-DSA-SHA2-128s public key (FIPS 205), and what signatures under it cover.
#[derive(Clone)]
#[expect(unnameable_types, reason = "key material is seen through `Key` alone")]
pub struct VerifyingKey {
    key: slh_dsa::VerifyingKey<Sha2_128s>,
    bytes: [u8; PUBLIC_LEN],
    message: Message,
}

/// What a public token's signature covers beside header, payload, footer and assertion.
#[derive(Clone, Copy)]
enum Message {
    /// The public key, as the draft's text has it.
    WithKey,
    /// Nothing.
    WithoutKey,
}

impl Holds<Public> for V6 {
    type Material = VerifyingKey;

    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        let bytes = *sized::<PUBLIC_LEN>(bytes)?;
        let key = bytes
            .as_slice()
            .try_into()
            .map_err(|_| InvalidKey::Invalid)?;
        Ok(VerifyingKey {
            key,
            bytes,
            message: Message::WithKey,
        })
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(material.bytes.to_vec())
    }
}

impl Key<V6, Public> {
    /// The same key for tokens of the other known form, whose signatures do not cover the public key; it refuses those of the
    /// draft's text.
    ///
    /// The draft's text has the signature cover the public key. The one other implementation known, paseto-rs, leaves it out.
    #[must_use]
    pub fn for_signatures_without_key(mut self) -> Self {
        self.material.message = Message::WithoutKey;
        self
    }
}

impl Opens<Public> for V6 {
    fn open(
        key: &Self::Material,
        body: &mut [u8],
        context: Context<'_>,
    ) -> Result<Range<usize>, TokenError> {
        let (payload, signature) = body
            .split_last_chunk::<SIGNATURE_LEN>()
            .ok_or(TokenError::NotAuthentic)?;
        let signature =
            Signature::try_from(signature.as_slice()).map_err(|_| TokenError::NotAuthentic)?;
        key.key
            .try_verify_with_context(&V6::message(key, payload, context), &[], &signature)
            .map_err(|_| TokenError::NotAuthentic)?;
        Ok(0..payload.len())
    }
}

/// An SLH-DSA-SHA2-128s key pair.
#[expect(unnameable_types, reason = "key material is seen through `Key` alone")]
pub struct SigningKey {
    key: slh_dsa::SigningKey<Sha2_128s>,
    public: VerifyingKey,
}

impl SigningKey {
    /// Makes the key of three random parts: the root of its tree costs some tens of milliseconds.
    fn from_seeds(seeds: &[u8; 48]) -> Result<Self, InvalidKey> {
        let (secret, rest) = seeds.split_at(16);
        let (random, public) = rest.split_at(16);
        let key = slh_dsa::SigningKey::slh_keygen_internal(secret, random, public);
        let public = <V6 as Holds<Public>>::parse(&key.as_ref().to_bytes())?;
        Ok(Self { key, public })
    }

    fn sign(&self, message: &[u8], hedge: Option<&[u8]>) -> Option<Vec<u8>> {
        let signature = self.key.try_sign_with_context(message, &[], hedge).ok()?;
        Some(signature.to_bytes().to_vec())
    }
}

impl Holds<Secret> for V6 {
    type Material = SigningKey;

    /// SK.seed, SK.prf, PK.seed and PK.root (FIPS 205 section 9.1); the root must be theirs.
    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        let bytes = sized::<SECRET_LEN>(bytes)?;
        let seeds = bytes.first_chunk().ok_or(InvalidKey::Invalid)?;
        let key = SigningKey::from_seeds(seeds)?;
        match bool::from(key.key.to_bytes().as_slice().ct_eq(bytes)) {
            true => Ok(key),
            false => Err(InvalidKey::Inconsistent),
        }
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(material.key.to_bytes().to_vec())
    }
}

impl Generates<Secret> for V6 {
    fn generate(random: &dyn Random) -> Result<Self::Material, RandomnessUnavailable> {
        let seeds = Zeroizing::new(random::bytes(random)?);
        Ok(SigningKey::from_seeds(&seeds).expect("any 48 bytes are seeds"))
    }
}

impl Pairs for V6 {
    fn public(secret: &SigningKey) -> VerifyingKey {
        secret.public.clone()
    }
}

impl Mints<Secret> for V6 {
    type Purpose = Public;

    /// Hedged (FIPS 205 section 3.4).
    fn seal(
        key: &Self::Material,
        payload: &[u8],
        context: Context<'_>,
        random: &dyn Random,
    ) -> Result<Vec<u8>, RandomnessUnavailable> {
        let hedge = random::bytes::<16>(random)?;
        let message = V6::message(&key.public, payload, context);
        let signature = key
            .sign(&message, Some(&hedge))
            .ok_or(RandomnessUnavailable)?;
        Ok([payload, &signature].concat())
    }
}

impl SignsElsewhere for V6 {
    fn message(key: &VerifyingKey, payload: &[u8], context: Context<'_>) -> Vec<u8> {
        let rest = [b"v6.public.", payload, context.footer, context.assertion];
        match key.message {
            Message::WithKey => {
                let [header, payload, footer, assertion] = rest;
                pae_vec(&[&key.bytes, header, payload, footer, assertion])
            }
            Message::WithoutKey => pae_vec(&rest),
        }
    }

    fn sign(key: &SigningKey, message: &[u8]) -> Option<Vec<u8>> {
        key.sign(message, None)
    }
}

impl Wraps for V6 {
    type Suite = XChaCha;

    fn wrapping_keys(material: &Self::Material, nonce: &[u8; 32]) -> XChaCha {
        XChaCha::of_wrapping(material.wrapping(), nonce)
    }
}

impl Protects for V6 {
    type Work = Argon2id;
    const SALT_LEN: usize = 16;
}

impl Holds<SealPublic> for V6 {
    type Material = EncapsulationKey;

    /// An encapsulation key of ML-KEM-768 and one of X25519 (draft-connolly-cfrg-xwing-kem-06 section 5.4).
    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        sized::<{ x_wing::ENCAPSULATION_KEY_SIZE }>(bytes)?;
        bytes.try_into().map_err(|_| InvalidKey::Invalid)
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(material.to_bytes().to_vec())
    }
}

impl Holds<SealSecret> for V6 {
    type Material = DecapsulationKey;

    /// The seed.
    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        Ok((*sized(bytes)?).into())
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(material.as_bytes().to_vec())
    }
}

impl Generates<SealSecret> for V6 {
    fn generate(random: &dyn Random) -> Result<Self::Material, RandomnessUnavailable> {
        let seed = Zeroizing::new(random::bytes(random)?);
        Ok((*seed).into())
    }
}

impl Seals for V6 {
    type To = SealPublic;
    type With = SealSecret;
    const SEALED_LEN: usize = x_wing::CIPHERTEXT_SIZE;

    fn recipient(secret: &DecapsulationKey) -> EncapsulationKey {
        secret.encapsulation_key().clone()
    }

    fn encapsulate(
        to: &EncapsulationKey,
        header: &[u8],
        random: &dyn Random,
    ) -> Result<(Vec<u8>, XChaCha), PaserkError> {
        let randomness = Zeroizing::new(random::bytes::<64>(random)?);
        let (ciphertext, shared) = to.encapsulate_deterministic(&(*randomness).into());
        let shared = Zeroizing::new(<[u8; 32]>::from(shared));
        let keys = keys(header, &*shared, &ciphertext, to);
        Ok((ciphertext.to_vec(), keys))
    }

    /// An altered ciphertext gives keys that nobody has.
    fn decapsulate(
        secret: &DecapsulationKey,
        header: &[u8],
        sealed: &[u8],
    ) -> Result<XChaCha, PaserkError> {
        let ciphertext = sealed.try_into().map_err(|_| PaserkError::Malformed)?;
        let shared = Zeroizing::new(<[u8; 32]>::from(secret.decapsulate(&ciphertext)));
        Ok(keys(header, &*shared, sealed, secret.encapsulation_key()))
    }
}

/// PASERK § PKE in the draft: BLAKE2b over the shared key, the ciphertext and the recipient.
fn keys(header: &[u8], shared: &[u8], sealed: &[u8], to: &EncapsulationKey) -> XChaCha {
    let to = to.to_bytes();
    let mut nonce = Blake2b::<U24>::default();
    nonce.update([0xff]);
    nonce.update(sealed);
    nonce.update(to);
    XChaCha {
        encryption: blake2b_256(&[&[3], header, shared, sealed, &to]),
        nonce: nonce.finalize().into(),
        authentication: blake2b_256(&[&[4], header, shared, sealed, &to]),
    }
}

const PUBLIC_LEN: usize = 32;
const SECRET_LEN: usize = 64;
const SIGNATURE_LEN: usize = 7856;
