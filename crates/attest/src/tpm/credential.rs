//! A credential that only one TPM opens, for a key of that TPM (`TPM2_MakeCredential` in software: TPM 2.0 part 1, section 24 and
//! annexes B.10.4 and C.6.4).

use aws_lc_rs::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use aws_lc_rs::cipher::{
    AES_128, AES_256, EncryptionContext, StreamingEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512,
    OaepPublicEncryptingKey, PublicEncryptingKey,
};
use zeroize::Zeroizing;

use super::endorsement::TrustedEk;
use super::hash::HashAlgorithm;
use super::public::{Curve, Key, Name};
use super::wire::push_sized;

/// What `TPM2_ActivateCredential` takes, without the lengths around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// What a `TPM2B_ID_OBJECT` holds.
    pub id_object: Vec<u8>,
    /// What a `TPM2B_ENCRYPTED_SECRET` holds.
    pub encrypted_secret: Vec<u8>,
}

/// A credential was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The secret is longer than the endorsement key's digests.
    #[error("the secret has {found} bytes, and this TPM takes {limit}")]
    TooLong {
        /// Its length.
        found: usize,
        /// The longest that this TPM takes.
        limit: usize,
    },
    /// A key cannot be used, or there is no randomness.
    #[error("the credential cannot be made")]
    Cryptography,
}

impl TrustedEk {
    /// Encrypts `secret` to this TPM, for the key of that name: the TPM gives the secret out only while it holds that key.
    ///
    /// The one place where this crate draws randomness itself: AWS-LC pads and makes ephemeral keys with its own.
    ///
    /// # Errors
    ///
    /// The secret is too long, or AWS-LC failed.
    pub fn credential(&self, name: &Name, secret: &[u8]) -> Result<Credential, CredentialError> {
        let area = &self.key.area;
        let hash = area.name_algorithm;
        if secret.len() > hash.length() {
            return Err(CredentialError::TooLong {
                found: secret.len(),
                limit: hash.length(),
            });
        }
        let (seed, encrypted_secret) = match &area.key {
            Key::Rsa { .. } => rsa_seed(&area.key.spki().ok_or(FAILED)?, hash)?,
            Key::Ec { curve, point } => ec_seed(*curve, point, hash)?,
        };
        let bits = area.symmetric_bits.ok_or(FAILED)?;
        Ok(Credential {
            id_object: protect(hash, &seed, bits, name, secret)?,
            encrypted_secret,
        })
    }
}

type Seed = Zeroizing<Vec<u8>>;

/// Annex B.10.4: a random seed under OAEP with the label `IDENTITY`.
fn rsa_seed(spki: &[u8], hash: HashAlgorithm) -> Result<(Seed, Vec<u8>), CredentialError> {
    let mut seed = Zeroizing::new(vec![0; hash.length()]);
    SystemRandom::new().fill(&mut seed).map_err(|_| FAILED)?;
    let key = PublicEncryptingKey::from_der(spki).map_err(|_| FAILED)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| FAILED)?;
    let algorithm = match hash {
        HashAlgorithm::Sha256 => &OAEP_SHA256_MGF1SHA256,
        HashAlgorithm::Sha384 => &OAEP_SHA384_MGF1SHA384,
        HashAlgorithm::Sha512 => &OAEP_SHA512_MGF1SHA512,
    };
    let mut encrypted = vec![0; key.ciphertext_size()];
    let label = Some(b"IDENTITY\0".as_slice());
    let written = key.encrypt(algorithm, &seed, &mut encrypted, label);
    let length = written.map_err(|_| FAILED)?.len();
    encrypted.truncate(length);
    Ok((seed, encrypted))
}

/// Annex C.6.4: the seed is derived from a Diffie-Hellman exchange with an ephemeral key, whose point is what the TPM gets.
fn ec_seed(
    curve: Curve,
    point: &[u8],
    hash: HashAlgorithm,
) -> Result<(Seed, Vec<u8>), CredentialError> {
    let algorithm = match curve {
        Curve::P256 => &agreement::ECDH_P256,
        Curve::P384 => &agreement::ECDH_P384,
    };
    let ephemeral = EphemeralPrivateKey::generate(algorithm, &SystemRandom::new());
    let ephemeral = ephemeral.map_err(|_| FAILED)?;
    let own = ephemeral.compute_public_key().map_err(|_| FAILED)?;
    let length = curve.coordinate();
    let (own_x, own_y) = coordinates(own.as_ref(), length).ok_or(FAILED)?;
    let (their_x, _) = coordinates(point, length).ok_or(FAILED)?;
    let peer = UnparsedPublicKey::new(algorithm, point);
    let seed = agree_ephemeral(ephemeral, peer, FAILED, |shared| {
        Ok(kdf_e(hash, shared, own_x, their_x))
    })?;
    Ok((seed, [sized(own_x)?, sized(own_y)?].concat()))
}

fn coordinates(point: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let (form, coordinates) = point.split_first()?;
    (*form == 4 && coordinates.len() == 2 * length).then(|| coordinates.split_at(length))
}

/// Section 24.4 and 24.5: encrypted with one key that the seed gives, authenticated with the name by another.
fn protect(
    hash: HashAlgorithm,
    seed: &[u8],
    symmetric_bits: u16,
    name: &Name,
    secret: &[u8],
) -> Result<Vec<u8>, CredentialError> {
    let key = kdf_a(
        hash,
        seed,
        b"STORAGE",
        name.as_bytes(),
        symmetric_bits.into(),
    );
    let encrypted = encrypt(&key, &Zeroizing::new(sized(secret)?))?;
    let bits = u32::try_from(hash.length() * 8).map_err(|_| FAILED)?;
    let key = kdf_a(hash, seed, b"INTEGRITY", &[], bits);
    let tag = hash.hmac(&key, &[&encrypted, name.as_bytes()]);
    Ok([sized(&tag)?, encrypted].concat())
}

/// AES in CFB mode with an initialization vector of zeros: each key is for one message.
fn encrypt(key: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CredentialError> {
    let algorithm = match key.len() {
        16 => &AES_128,
        _ => &AES_256,
    };
    let key = UnboundCipherKey::new(algorithm, key).map_err(|_| FAILED)?;
    let context = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    let cipher = StreamingEncryptingKey::less_safe_cfb128(key, context);
    let mut cipher = cipher.map_err(|_| FAILED)?;
    let mut out = vec![0; plaintext.len() + 16];
    let written = cipher.update(plaintext, &mut out).map_err(|_| FAILED)?;
    let length = written.written().len();
    let mut rest = [0; 16];
    let (_, last) = cipher.finish(&mut rest).map_err(|_| FAILED)?;
    out.truncate(length);
    out.extend_from_slice(last.written());
    Ok(out)
}

/// Part 1, section 11.4.10.2, with one context. A key of more bits than the hash has takes several turns.
fn kdf_a(
    hash: HashAlgorithm,
    key: &[u8],
    label: &[u8],
    context: &[u8],
    bits: u32,
) -> Zeroizing<Vec<u8>> {
    let length = usize::try_from(bits / 8).unwrap_or(usize::MAX);
    let mut derived = Zeroizing::new(Vec::new());
    let mut counter: u32 = 0;
    while derived.len() < length {
        counter += 1;
        let parts: [&[u8]; 5] = [
            &counter.to_be_bytes(),
            label,
            &[0],
            context,
            &bits.to_be_bytes(),
        ];
        derived.extend(hash.hmac(key, &parts));
    }
    derived.truncate(length);
    derived
}

/// Part 1, section 11.4.10.3, for one digest: as long as the name algorithm's.
fn kdf_e(hash: HashAlgorithm, shared: &[u8], own_x: &[u8], their_x: &[u8]) -> Seed {
    let counter = 1_u32.to_be_bytes();
    Zeroizing::new(hash.digest(&[&counter, shared, b"IDENTITY\0", own_x, their_x]))
}

fn sized(bytes: &[u8]) -> Result<Vec<u8>, CredentialError> {
    let mut out = Vec::with_capacity(bytes.len() + 2);
    push_sized(&mut out, bytes).map_err(|_| FAILED)?;
    Ok(out)
}

const FAILED: CredentialError = CredentialError::Cryptography;
