//! The kinds of keys, and what PKCS#11 calls them.

use std::fmt;

use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, AttributeType, KeyType, MlDsaParameterSetType, ObjectClass};

/// A kind of key that is used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// Ed25519: signs (`CKM_EDDSA`, PKCS#11 3.0 section 2.3.14).
    Ed25519,
    /// ECDSA on P-384 with SHA-384, which is hashed here (`CKM_ECDSA`).
    EcdsaP384,
    /// ML-DSA-65, pure (`CKM_ML_DSA`, PKCS#11 3.2).
    MlDsa65,
    /// ML-DSA-87, pure (`CKM_ML_DSA`, PKCS#11 3.2).
    MlDsa87,
    /// AES-256: seals another key (`CKM_AES_GCM`).
    Aes256,
}

impl KeyAlgorithm {
    /// Those that sign.
    pub const SIGNING: [Self; 4] = [Self::Ed25519, Self::EcdsaP384, Self::MlDsa65, Self::MlDsa87];

    /// Its name in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::EcdsaP384 => "ECDSA P-384",
            Self::MlDsa65 => "ML-DSA-65",
            Self::MlDsa87 => "ML-DSA-87",
            Self::Aes256 => "AES-256",
        }
    }

    /// What uses it, as PKCS#11 calls that.
    pub(crate) const fn mechanism(self) -> (MechanismType, &'static str) {
        match self {
            Self::Ed25519 => (MechanismType::EDDSA, "CKM_EDDSA"),
            Self::EcdsaP384 => (MechanismType::ECDSA, "CKM_ECDSA"),
            Self::MlDsa65 | Self::MlDsa87 => (MechanismType::ML_DSA, "CKM_ML_DSA"),
            Self::Aes256 => (MechanismType::AES_GCM, "CKM_AES_GCM"),
        }
    }

    /// What makes it.
    pub(crate) const fn generation(self) -> (MechanismType, &'static str) {
        match self {
            Self::Ed25519 => (
                MechanismType::ECC_EDWARDS_KEY_PAIR_GEN,
                "CKM_EC_EDWARDS_KEY_PAIR_GEN",
            ),
            Self::EcdsaP384 => (MechanismType::ECC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN"),
            Self::MlDsa65 | Self::MlDsa87 => (
                MechanismType::ML_DSA_KEY_PAIR_GEN,
                "CKM_ML_DSA_KEY_PAIR_GEN",
            ),
            Self::Aes256 => (MechanismType::AES_KEY_GEN, "CKM_AES_KEY_GEN"),
        }
    }

    /// The class of the object that is secret.
    pub(crate) const fn class(self) -> ObjectClass {
        match self {
            Self::Aes256 => ObjectClass::SECRET_KEY,
            _ => ObjectClass::PRIVATE_KEY,
        }
    }

    /// What tells it from another key of its type.
    pub(crate) fn parameters(self) -> Attribute {
        match self {
            Self::Ed25519 => Attribute::EcParams(ED25519_OID.to_vec()),
            Self::EcdsaP384 => Attribute::EcParams(P384_OID.to_vec()),
            Self::MlDsa65 => Attribute::ParameterSet(MlDsaParameterSetType::ML_DSA_65.into()),
            Self::MlDsa87 => Attribute::ParameterSet(MlDsaParameterSetType::ML_DSA_87.into()),
            Self::Aes256 => Attribute::ValueLen(32.into()),
        }
    }

    /// What a signing key is by the attributes of its object.
    pub(crate) fn of_signing(attributes: &[Attribute]) -> Result<Self, String> {
        let key_type = attributes.iter().find_map(|one| match one {
            Attribute::KeyType(key_type) => Some(*key_type),
            _ => None,
        });
        let fits = |algorithm: &Self| attributes.iter().any(|one| algorithm.is_told_by(one));
        let candidates: &[Self] = match key_type {
            Some(KeyType::EC_EDWARDS) => &[Self::Ed25519],
            Some(KeyType::EC) => &[Self::EcdsaP384],
            Some(KeyType::ML_DSA) => &[Self::MlDsa65, Self::MlDsa87],
            _ => &[],
        };
        let found = candidates.iter().find(|one| fits(one)).copied();
        found.ok_or_else(|| {
            let what = key_type.map_or("of no type".to_owned(), |one| format!("a {one}"));
            format!("it is {what}, and Ed25519, P-384, ML-DSA-65 and ML-DSA-87 sign")
        })
    }

    /// The attributes that [`KeyAlgorithm::of_signing`] reads.
    pub(crate) const TOLD_BY: [AttributeType; 3] = [
        AttributeType::KeyType,
        AttributeType::EcParams,
        AttributeType::ParameterSet,
    ];

    fn is_told_by(self, attribute: &Attribute) -> bool {
        match (self, attribute) {
            (Self::Ed25519, Attribute::EcParams(found)) => {
                // RFC 8410 section 3, or the name that PKCS#11 3.0 section 2.3.5 has for it.
                found == ED25519_OID || found == ED25519_NAME
            }
            _ => *attribute == self.parameters(),
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// 1.3.101.112, in DER.
const ED25519_OID: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// `edwards25519`, a PrintableString in DER.
const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";
/// 1.3.132.0.34, in DER.
const P384_OID: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
