//! Keys in PEM: RSA for version 1, P-384 for version 3, as the official vectors have them.

use aws_lc_rs::encoding::{AsBigEndian, EcPrivateKeyBin};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, ParsedPublicKey,
};
use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use super::file::Kind;
use crate::cli::PasetoVersion;

/// A key out of PEM: its version and kind, and its bytes as PASERK's plain types have them.
pub(super) struct PemKey {
    pub(super) version: PasetoVersion,
    pub(super) kind: Kind,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// Why PEM holds no key of version 1 or 3.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PemError {
    /// It is not one section with a label that keys have, in canonical base64.
    #[error("it is not one key in PEM")]
    Malformed,
    /// It is an Ed25519 key, which PEM does not tell the version of.
    #[error("an Ed25519 key in PEM does not say whether it is of v2 or v4")]
    Ed25519,
    /// It is a key of another algorithm or curve, or none that can be used.
    #[error("it is neither an RSA key (v1) nor a P-384 key (v3)")]
    Unknown,
}

/// Whether the text is PEM.
pub(super) fn is_pem(text: &str) -> bool {
    text.contains("-----BEGIN ")
}

/// Reads a key.
///
/// # Errors
///
/// [`PemError`].
pub(super) fn read(text: &str) -> Result<PemKey, PemError> {
    let (label, der) = section(text)?;
    if contains(&der, ED25519) {
        return Err(PemError::Ed25519);
    }
    let (version, kind, bytes) = match label {
        PUBLIC if der.starts_with(P384_SPKI) => {
            (PasetoVersion::V3, Kind::Public, p384_public(&der))
        }
        PUBLIC if contains(&der, RSA) => (PasetoVersion::V1, Kind::Public, Some(der)),
        RSA_PRIVATE => (PasetoVersion::V1, Kind::Secret, Some(der)),
        PRIVATE if contains(&der, RSA) => (PasetoVersion::V1, Kind::Secret, rsa_secret(&der)),
        PRIVATE | EC_PRIVATE => (PasetoVersion::V3, Kind::Secret, p384_secret(&der)),
        _ => return Err(PemError::Unknown),
    };
    Ok(PemKey {
        version,
        kind,
        bytes: bytes.ok_or(PemError::Unknown)?,
    })
}

/// The one key in the text, decoded in constant time (RFC 7468). What OpenSSL writes before an EC key is passed over.
fn section(text: &str) -> Result<(&'static str, Zeroizing<Vec<u8>>), PemError> {
    let (label, rest) = LABELS
        .iter()
        .find_map(|label| {
            let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
            Some((*label, rest))
        })
        .ok_or(PemError::Malformed)?;
    let (body, after) = rest
        .split_once(&format!("-----END {label}-----"))
        .ok_or(PemError::Malformed)?;
    let mut base64 = Zeroizing::new(String::with_capacity(body.len()));
    base64.extend(body.lines().map(str::trim_end));
    match Base64::decode_vec(&base64) {
        Ok(der) if after.trim().is_empty() => Ok((label, Zeroizing::new(der))),
        _ => Err(PemError::Malformed),
    }
}

/// The point in compressed form (SEC 1 section 2.3.3), once it is known to be on the curve.
fn p384_public(spki: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let point = spki.strip_prefix(P384_SPKI)?;
    ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).ok()?;
    let (x, y) = point.strip_prefix(&[4])?.split_at_checked(48)?;
    let sign = if y.last()? % 2 == 0 { 2 } else { 3 };
    Some(Zeroizing::new([&[sign], x].concat()))
}

/// The scalar of PKCS #8 or of SEC 1 (RFC 5915); a public half that is another's is refused.
fn p384_secret(der: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_FIXED_SIGNING, der).ok()?;
    let scalar: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().ok()?;
    Some(Zeroizing::new(scalar.as_ref().to_vec()))
}

/// The PKCS #1 key inside PKCS #8.
fn rsa_secret(pkcs8: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    rsa::KeyPair::from_pkcs8(pkcs8).ok()?;
    let (_, pkcs1) = pkcs8.split_at_checked(PKCS8_HEADER_LEN)?;
    Some(Zeroizing::new(pkcs1.to_vec()))
}

fn contains(der: &[u8], identifier: &[u8]) -> bool {
    // An algorithm stands at the front; what follows is the key's own bytes.
    let front = der.get(..der.len().min(PKCS8_HEADER_LEN)).unwrap_or(der);
    front
        .windows(identifier.len())
        .any(|window| window == identifier)
}

const PUBLIC: &str = "PUBLIC KEY";
const PRIVATE: &str = "PRIVATE KEY";
const RSA_PRIVATE: &str = "RSA PRIVATE KEY";
const EC_PRIVATE: &str = "EC PRIVATE KEY";
const LABELS: [&str; 4] = [PUBLIC, PRIVATE, RSA_PRIVATE, EC_PRIVATE];

/// rsaEncryption (RFC 8017 appendix A.1).
const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
/// id-Ed25519 (RFC 8410 section 3).
const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";
/// SubjectPublicKeyInfo of a P-384 key up to its uncompressed point (RFC 5480 section 2).
const P384_SPKI: &[u8] =
    b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00";
/// PKCS #8 before an RSA key of 2048 bits: version, algorithm, three lengths (RFC 5208 section 5).
const PKCS8_HEADER_LEN: usize = 26;
