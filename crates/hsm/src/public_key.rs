//! Public keys, as the modules write them and as everybody else does.

use std::fmt;

use crate::KeyAlgorithm;

/// The public half of a signing key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: KeyAlgorithm,
    raw: Vec<u8>,
}

impl PublicKey {
    /// Its algorithm.
    pub const fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The key itself: Ed25519 in 32 bytes (RFC 8032), P-384 as an uncompressed point in 97 (SEC 1), ML-DSA as FIPS 204 has it.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Its SubjectPublicKeyInfo in DER: RFC 8410, RFC 5480 or RFC 9881.
    pub fn spki_der(&self) -> Vec<u8> {
        let prefix: &[u8] = match self.algorithm {
            KeyAlgorithm::Ed25519 => ED25519_SPKI,
            KeyAlgorithm::EcdsaP384 => P384_SPKI,
            KeyAlgorithm::MlDsa65 => ML_DSA_65_SPKI,
            KeyAlgorithm::MlDsa87 => ML_DSA_87_SPKI,
            // `from_pkcs11` makes none.
            KeyAlgorithm::Aes256 => &[],
        };
        [prefix, &self.raw].concat()
    }

    /// Reads what a module gives: `CKA_EC_POINT` of a curve, `CKA_VALUE` of ML-DSA.
    ///
    /// PKCS#11 wants the point in a DER OCTET STRING for Weierstrass curves, and up to 3.0 also for Edwards curves; since 3.1
    /// (section 6.3.5) those are raw. Both are met in the field.
    pub(crate) fn from_pkcs11(algorithm: KeyAlgorithm, value: &[u8]) -> Option<Self> {
        let length = raw_length(algorithm)?;
        let raw = match value.len() == length {
            true => value,
            false => octet_string(value).filter(|inner| inner.len() == length)?,
        };
        let uncompressed = algorithm != KeyAlgorithm::EcdsaP384 || raw.first() == Some(&4);
        uncompressed.then(|| Self {
            algorithm,
            raw: raw.to_vec(),
        })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.algorithm)
    }
}

/// RFC 8032 section 5.1.5, SEC 1 section 2.3.3, FIPS 204 table 2.
const fn raw_length(algorithm: KeyAlgorithm) -> Option<usize> {
    match algorithm {
        KeyAlgorithm::Ed25519 => Some(32),
        KeyAlgorithm::EcdsaP384 => Some(97),
        KeyAlgorithm::MlDsa65 => Some(1952),
        KeyAlgorithm::MlDsa87 => Some(2592),
        KeyAlgorithm::Aes256 => None,
    }
}

/// The inside of a DER OCTET STRING that is no longer than 127 bytes, as a point's is.
fn octet_string(der: &[u8]) -> Option<&[u8]> {
    let (tag, rest) = der.split_first()?;
    let (length, inner) = rest.split_first()?;
    (*tag == 4 && usize::from(*length) == inner.len() && *length < 128).then_some(inner)
}

/// Everything before the key, which is as long as its algorithm says.
const ED25519_SPKI: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
const P384_SPKI: &[u8] =
    b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00";
const ML_DSA_65_SPKI: &[u8] =
    b"\x30\x82\x07\xb2\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x12\x03\x82\x07\xa1\x00";
const ML_DSA_87_SPKI: &[u8] =
    b"\x30\x82\x0a\x32\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x13\x03\x82\x0a\x21\x00";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(algorithm: KeyAlgorithm, value: &[u8], read: bool) {
        let key = PublicKey::from_pkcs11(algorithm, value);
        assert_eq!(key.is_some(), read, "{algorithm} of {} bytes", value.len());
    }

    #[test]
    fn a_point_is_read_raw_and_wrapped() {
        check(KeyAlgorithm::Ed25519, &[7; 32], true);
        check(
            KeyAlgorithm::Ed25519,
            &[&[4, 32][..], &[7; 32]].concat(),
            true,
        );
        check(KeyAlgorithm::EcdsaP384, &[4; 97], true);
        check(
            KeyAlgorithm::EcdsaP384,
            &[&[4, 97][..], &[4; 97]].concat(),
            true,
        );
        check(KeyAlgorithm::MlDsa65, &[7; 1952], true);
        check(KeyAlgorithm::MlDsa87, &[7; 2592], true);
    }

    #[test]
    fn another_length_wrapping_or_form_of_point_is_refused() {
        check(KeyAlgorithm::Ed25519, &[], false);
        check(KeyAlgorithm::Ed25519, &[7; 33], false);
        check(
            KeyAlgorithm::Ed25519,
            &[&[4, 31][..], &[7; 32]].concat(),
            false,
        );
        check(
            KeyAlgorithm::Ed25519,
            &[&[3, 32][..], &[7; 32]].concat(),
            false,
        );
        check(KeyAlgorithm::EcdsaP384, &[2; 49], false);
        check(KeyAlgorithm::EcdsaP384, &[2; 97], false);
        check(KeyAlgorithm::MlDsa65, &[7; 2592], false);
        check(KeyAlgorithm::Aes256, &[7; 32], false);
    }

    #[test]
    fn the_prefix_counts_the_bytes_that_follow() {
        for algorithm in KeyAlgorithm::SIGNING {
            let raw = vec![4; raw_length(algorithm).unwrap()];
            let spki = PublicKey::from_pkcs11(algorithm, &raw).unwrap().spki_der();
            let counted = match spki[1] {
                0x82 => 4 + usize::from(spki[2]) * 256 + usize::from(spki[3]),
                short => 2 + usize::from(short),
            };
            assert_eq!(counted, spki.len(), "{algorithm}");
        }
    }
}
