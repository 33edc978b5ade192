//! `k1.seal`: RSA-KEM with RSA of 4096 bits (PASERK § PKE, version 1).
//!
//! Unsealing computes with a secret RSA key where a stranger chose the ciphertext and may watch the clock (RUSTSEC-2023-0071, the
//! Marvin attack). The arithmetic takes constant time, the ciphertext is blinded, there is no padding to be an oracle, and every
//! failure is the same error. That is less than AWS-LC's assurance: seal with another version where you can.

use alloc::vec::Vec;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use rsa::hazmat::{rsa_decrypt_and_check, rsa_encrypt};
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::{DecodePublicKey, EncodePublicKey};
use rsa::traits::PublicKeyParts;
use rsa::{BoxedUint, RsaPrivateKey, RsaPublicKey};
use zeroize::Zeroizing;

use super::seal::Seals;
use super::suite::AesCtr;
use crate::encoding;
use crate::error::{InvalidKey, PaserkError};
use crate::key::cut;
use crate::primitives::{HmacSha384, RsaSecret, sha384};
use crate::random::{self, Random, RandomnessUnavailable};
use crate::v1::InsecureV1;
use crate::version::{Generates, Holds, SealPublic, SealSecret};

/// An RSA key of 4096 bits with the exponent 65537, and its DER.
#[derive(Clone)]
#[expect(unnameable_types, reason = "key material is seen through `Key` alone")]
pub struct EncapsulationKey {
    key: RsaPublicKey,
    der: Vec<u8>,
}

impl Holds<SealPublic> for InsecureV1 {
    type Material = EncapsulationKey;

    /// A SubjectPublicKeyInfo in its one form.
    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        if bytes.len() != SPKI_LEN {
            return Err(InvalidKey::Length {
                expected: SPKI_LEN,
                found: bytes.len(),
            });
        }
        let key = RsaPublicKey::from_public_key_der(bytes).map_err(|_| InvalidKey::Invalid)?;
        check_size(&key)?;
        let der = key.to_public_key_der().map_err(|_| InvalidKey::Invalid)?;
        if der.as_bytes() != bytes {
            return Err(InvalidKey::Invalid);
        }
        Ok(EncapsulationKey {
            key,
            der: bytes.to_vec(),
        })
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(material.der.clone())
    }
}

/// An RSA key pair of 4096 bits, its DER, and what blinds it.
#[expect(unnameable_types, reason = "key material is seen through `Key` alone")]
pub struct DecapsulationKey {
    key: RsaPrivateKey,
    der: Zeroizing<Vec<u8>>,
    blinding: HmacSha384,
    public: EncapsulationKey,
}

impl DecapsulationKey {
    /// The number that `sealed` encrypts. The blinding factor follows from the secret key and the ciphertext, so that it is
    /// a new one for each ciphertext, nobody else knows it, and unsealing needs no randomness.
    fn decrypt(&self, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let ciphertext = BoxedUint::from_be_slice(sealed, MODULUS_BITS).ok()?;
        let (seed, _unused) = cut::<32, 16>(&self.blinding.tag(&[sealed]));
        let mut blinding = ChaCha20Rng::from_seed(*seed);
        let number = rsa_decrypt_and_check(&self.key, Some(&mut blinding), &ciphertext).ok()?;
        let number = Zeroizing::new(number);
        Some(Zeroizing::new(number.to_be_bytes().into_vec()))
    }
}

impl Holds<SealSecret> for InsecureV1 {
    type Material = DecapsulationKey;

    /// An RSAPrivateKey of PKCS #1.
    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        let key = RsaPrivateKey::from_pkcs1_der(bytes).map_err(|_| InvalidKey::Invalid)?;
        check_size(&key)?;
        let public = key.to_public_key().to_public_key_der();
        let public = public.map_err(|_| InvalidKey::Invalid)?;
        Ok(DecapsulationKey {
            public: <Self as Holds<SealPublic>>::parse(public.as_bytes())?,
            blinding: HmacSha384::new(&*sha384(&[b"blinding", bytes])),
            der: Zeroizing::new(bytes.to_vec()),
            key,
        })
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        material.der.clone()
    }

    /// PEM too, as for signing keys.
    fn parse_protected(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        match encoding::decode_secret_pem(bytes, "RSA PRIVATE KEY") {
            Some(der) => <Self as Holds<SealSecret>>::parse(&der),
            None => <Self as Holds<SealSecret>>::parse(bytes),
        }
    }
}

impl Generates<SealSecret> for InsecureV1 {
    fn generate(random: &dyn Random) -> Result<Self::Material, RandomnessUnavailable> {
        let der = RsaSecret::generate(4096, random)?;
        Ok(<Self as Holds<SealSecret>>::parse(&der).expect("a key just made is one"))
    }
}

impl Seals for InsecureV1 {
    type To = SealPublic;
    type With = SealSecret;
    const SEALED_LEN: usize = MODULUS_LEN;
    const SEALED_LAST: bool = true;

    fn recipient(secret: &DecapsulationKey) -> EncapsulationKey {
        secret.public.clone()
    }

    fn encapsulate(
        to: &EncapsulationKey,
        header: &[u8],
        random: &dyn Random,
    ) -> Result<(Vec<u8>, AesCtr), PaserkError> {
        let mut number = Zeroizing::new(random::bytes::<MODULUS_LEN>(random)?);
        // below the modulus, and so large that its power wraps around it
        let [first, ..] = &mut *number;
        *first = *first & 0x7f | 0x40;
        let plain = BoxedUint::from_be_slice(&*number, MODULUS_BITS);
        let plain = Zeroizing::new(plain.map_err(|_| InvalidKey::Invalid)?);
        let ciphertext = rsa_encrypt(&to.key, &plain).map_err(|_| InvalidKey::Invalid)?;
        let ciphertext = ciphertext.to_be_bytes().into_vec();
        let keys = keys(header, &*number, &ciphertext);
        Ok((ciphertext, keys))
    }

    fn decapsulate(
        secret: &DecapsulationKey,
        header: &[u8],
        sealed: &[u8],
    ) -> Result<AesCtr, PaserkError> {
        let number = secret.decrypt(sealed).ok_or(PaserkError::NotAuthentic)?;
        Ok(keys(header, &number, sealed))
    }
}

fn keys(header: &[u8], number: &[u8], ciphertext: &[u8]) -> AesCtr {
    let derive = HmacSha384::new(&*sha384(&[ciphertext]));
    let split = Zeroizing::new(derive.tag(&[&[1], header, number]));
    let authentication = Zeroizing::new(derive.tag(&[&[2], header, number]));
    let (encryption, counter) = cut(&*split);
    AesCtr::new(encryption, counter, &*authentication)
}

/// PASERK § PKE: keys of 4096 bits seal, so that none that signs does.
fn check_size(key: &impl PublicKeyParts) -> Result<(), InvalidKey> {
    let exponent = BoxedUint::from(65537_u32);
    match key.n().bits() == MODULUS_BITS && key.e() == &exponent {
        true => Ok(()),
        false => Err(InvalidKey::Invalid),
    }
}

const MODULUS_BITS: u32 = 4096;
const MODULUS_LEN: usize = 512;
/// SubjectPublicKeyInfo of 4096 bits and the exponent 65537 (RFC 3279 section 2.3.1).
const SPKI_LEN: usize = 550;
