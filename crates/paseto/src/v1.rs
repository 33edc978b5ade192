//! Version 1 (PASETO § Version 1): AES-256-CTR with HMAC-SHA-384, and RSASSA-PSS of 2048 bits.

use alloc::vec::Vec;
use core::ops::Range;

use zeroize::Zeroizing;

use crate::encoding::{self, pae, pae_vec};
use crate::error::{InvalidKey, TokenError};
use crate::key::{Pairs, cut, same_tag, symmetric};
use crate::paserk::{HASH_LEN, Identifies};
use crate::primitives::{HmacSha384, RSA_SIGNATURE_LEN, RsaPublic, RsaSecret, aes_256_ctr};
use crate::random::{self, Random, RandomnessUnavailable};
use crate::v3::V3;
use crate::version::{Context, Generates, Holds, Local, Mints, Opens, Public, Secret, Version};

/// Version 1, which has been withdrawn: AES-256-CTR and HMAC-SHA-384, RSA of 2048 bits.
///
/// Keys are sealed to RSA keys of 4096 bits with the feature `k1-seal`, which computes with the crate `rsa`: its constant time and
/// blinding are all that stands against who measures how long unsealing takes (RUSTSEC-2023-0071).
///
/// It is named insecure for its public tokens: RSA of 2048 bits is at 112 bits of security, below what other versions
/// offer. It is here to read what others still mint; new tokens are better [`V4`](crate::V4) or [`V3`].
///
/// It has no implicit assertions, so that asking for one does not compile:
///
/// ```compile_fail,E0277
/// use countersign_paseto::{InsecureV1, Local, UntrustedToken};
///
/// fn asserting(token: UntrustedToken<InsecureV1, Local>) -> UntrustedToken<InsecureV1, Local> {
///     token.asserting("context")
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsecureV1 {}

impl Version for InsecureV1 {
    const TOKEN: &'static str = "v1";
    const PASERK: &'static str = "k1";
    const ASSERTS: bool = false;
}

impl Identifies for InsecureV1 {
    fn hash_id(pieces: &[&[u8]]) -> [u8; HASH_LEN] {
        V3::hash_id(pieces)
    }
}

impl Holds<Local> for InsecureV1 {
    type Material = Zeroizing<[u8; 32]>;

    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        symmetric(bytes)
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(material.to_vec())
    }
}

impl Generates<Local> for InsecureV1 {
    fn generate(random: &dyn Random) -> Result<Self::Material, RandomnessUnavailable> {
        random::bytes(random).map(Zeroizing::new)
    }
}

impl Mints<Local> for InsecureV1 {
    type Purpose = Local;

    /// PASETO Version 1 § Encrypt.
    fn seal(
        key: &Self::Material,
        payload: &[u8],
        context: Context<'_>,
        random: &dyn Random,
    ) -> Result<Vec<u8>, RandomnessUnavailable> {
        let nonce = nonce(&random::bytes(random)?, payload);
        let keys = LocalKeys::derive(key, &nonce);
        let mut body = [&nonce, payload].concat();
        let (_, ciphertext) = body.split_at_mut(nonce.len());
        aes_256_ctr(&keys.encryption, &keys.counter, ciphertext);
        let tag = keys.tag(&nonce, ciphertext, context);
        body.extend_from_slice(&tag);
        Ok(body)
    }
}

impl Opens<Local> for InsecureV1 {
    /// PASETO Version 1 § Decrypt.
    fn open(
        key: &Self::Material,
        body: &mut [u8],
        context: Context<'_>,
    ) -> Result<Range<usize>, TokenError> {
        let end = body
            .len()
            .checked_sub(TAG_LEN)
            .ok_or(TokenError::NotAuthentic)?;
        let (nonce, rest) = body
            .split_first_chunk_mut::<32>()
            .ok_or(TokenError::NotAuthentic)?;
        let (ciphertext, found) = rest
            .split_last_chunk_mut::<TAG_LEN>()
            .ok_or(TokenError::NotAuthentic)?;
        let keys = LocalKeys::derive(key, nonce);
        if !same_tag(&keys.tag(nonce, ciphertext, context), found) {
            return Err(TokenError::NotAuthentic);
        }
        aes_256_ctr(&keys.encryption, &keys.counter, ciphertext);
        Ok(nonce.len()..end)
    }
}

/// An RSA key of 2048 bits with the exponent 65537, as DER.
#[derive(Clone)]
#[expect(unnameable_types, reason = "key material is seen through `Key` alone")]
pub struct VerifyingKey {
    key: RsaPublic,
    der: Vec<u8>,
}

impl Holds<Public> for InsecureV1 {
    type Material = VerifyingKey;

    /// A SubjectPublicKeyInfo (PASERK § public, k1). There is one form for the one size and exponent that are allowed.
    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        if bytes.len() != SPKI_LEN {
            return Err(InvalidKey::Length {
                expected: SPKI_LEN,
                found: bytes.len(),
            });
        }
        let modulus = bytes
            .strip_prefix(SPKI_PREFIX)
            .and_then(|rest| rest.strip_suffix(SPKI_SUFFIX))
            .ok_or(InvalidKey::Invalid)?;
        if modulus.first().is_none_or(|first| *first < 0x80) {
            return Err(InvalidKey::Invalid);
        }
        Ok(VerifyingKey {
            key: RsaPublic::from_spki(bytes)?,
            der: bytes.to_vec(),
        })
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(material.der.clone())
    }
}

impl Opens<Public> for InsecureV1 {
    /// PASETO Version 1 § Verify.
    fn open(
        key: &Self::Material,
        body: &mut [u8],
        context: Context<'_>,
    ) -> Result<Range<usize>, TokenError> {
        let (payload, signature) = body
            .split_last_chunk::<RSA_SIGNATURE_LEN>()
            .ok_or(TokenError::NotAuthentic)?;
        match key.key.verify(&signed(payload, context), signature) {
            true => Ok(0..payload.len()),
            false => Err(TokenError::NotAuthentic),
        }
    }
}

/// An RSA key pair and its DER.
#[expect(unnameable_types, reason = "key material is seen through `Key` alone")]
pub struct SigningKey {
    pair: RsaSecret,
    der: Zeroizing<Vec<u8>>,
    public: VerifyingKey,
}

impl Holds<Secret> for InsecureV1 {
    type Material = SigningKey;

    /// An RSAPrivateKey of PKCS #1 (PASERK § secret, k1).
    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        let pair = RsaSecret::from_pkcs1(bytes)?;
        let public = <Self as Holds<Public>>::parse(&pair.public()?)?;
        Ok(SigningKey {
            pair,
            der: Zeroizing::new(bytes.to_vec()),
            public,
        })
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        material.der.clone()
    }

    /// PEM too: it is what the official vectors protect, where they wrap DER.
    fn parse_protected(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        match encoding::decode_secret_pem(bytes, "RSA PRIVATE KEY") {
            Some(der) => <Self as Holds<Secret>>::parse(&der),
            None => <Self as Holds<Secret>>::parse(bytes),
        }
    }
}

impl Generates<Secret> for InsecureV1 {
    fn generate(random: &dyn Random) -> Result<Self::Material, RandomnessUnavailable> {
        let der = RsaSecret::generate(2048, random)?;
        Ok(<Self as Holds<Secret>>::parse(&der).expect("a key just made is one"))
    }
}

impl Pairs for InsecureV1 {
    fn public(secret: &SigningKey) -> VerifyingKey {
        secret.public.clone()
    }
}

impl Mints<Secret> for InsecureV1 {
    type Purpose = Public;

    /// PASETO Version 1 § Sign.
    fn seal(
        key: &Self::Material,
        payload: &[u8],
        context: Context<'_>,
        random: &dyn Random,
    ) -> Result<Vec<u8>, RandomnessUnavailable> {
        let signature = key.pair.sign(&signed(payload, context), random)?;
        Ok([payload, &signature].concat())
    }
}

fn signed(payload: &[u8], context: Context<'_>) -> Vec<u8> {
    pae_vec(&[b"v1.public.", payload, context.footer])
}

/// The nonce covers the payload too, so that a bad source of randomness repeats it for equal payloads alone.
fn nonce(random: &[u8; 32], payload: &[u8]) -> [u8; 32] {
    let tag = HmacSha384::new(random).tag(&[payload]);
    *cut::<32, 16>(&tag).0
}

/// The keys of one local token, split from the long-lived key by the first half of its nonce.
struct LocalKeys {
    encryption: Zeroizing<[u8; 32]>,
    counter: [u8; 16],
    authentication: HmacSha384,
}

impl LocalKeys {
    /// HKDF to 32 bytes each (RFC 5869): one block of HMAC-SHA-384, cut.
    fn derive(key: &[u8; 32], nonce: &[u8; 32]) -> Self {
        let (salt, counter) = cut::<16, 16>(nonce);
        let extracted = HmacSha384::new(&HmacSha384::new(&*salt).tag(&[key]));
        let expand = |label: &[u8]| cut::<32, 16>(&extracted.tag(&[label, &[1]])).0;
        Self {
            encryption: expand(b"paseto-encryption-key"),
            counter,
            authentication: HmacSha384::new(&*expand(b"paseto-auth-key-for-aead")),
        }
    }

    fn tag(&self, nonce: &[u8; 32], ciphertext: &[u8], context: Context<'_>) -> [u8; TAG_LEN] {
        let pieces = [b"v1.local.", nonce.as_slice(), ciphertext, context.footer];
        self.authentication.tag_of(|mac| pae(&pieces, mac))
    }
}

const TAG_LEN: usize = 48;
const SPKI_LEN: usize = 294;
/// SubjectPublicKeyInfo up to the modulus of 2048 bits (RFC 8017 appendix A.1.1, RFC 3279 section 2.3.1).
const SPKI_PREFIX: &[u8] =
    b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\
\x03\x82\x01\x0f\x00\x30\x82\x01\x0a\x02\x82\x01\x01\x00";
/// The exponent 65537.
const SPKI_SUFFIX: &[u8] = b"\x02\x03\x01\x00\x01";
