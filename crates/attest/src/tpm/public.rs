//! A TPM's public area: what a key is, and the name that it has by it (TPM 2.0 part 1, section 16; part 2, section 12.2).

use std::fmt;

use x509_cert::der::asn1::{BitString, ObjectIdentifier, UintRef};
use x509_cert::der::{Decode as _, Encode as _, Header, Length, Reader as _, SliceReader, Tag};

use super::hash::HashAlgorithm;
use super::wire::{Malformed, Reader};
use crate::hex;

/// A public area that was read in full: `TPMT_PUBLIC`. It proves nothing: whoever has it can show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublicArea {
    pub(super) name: Name,
    pub(super) name_algorithm: HashAlgorithm,
    pub(super) attributes: Attributes,
    /// The key size of AES in CFB mode, where the key is a storage key.
    pub(super) symmetric_bits: Option<u16>,
    pub(super) scheme: Scheme,
    pub(super) key: Key,
}

/// The name of an object: its name algorithm, and the hash of its public area. Whoever changes the area changes the name.
#[derive(Clone, PartialEq, Eq)]
pub struct Name(Vec<u8>);

/// What a key may be used for (part 2, section 8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attributes(u32);

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    None,
    Rsassa(HashAlgorithm),
    Rsapss(HashAlgorithm),
    Ecdsa(HashAlgorithm),
    Other,
}

/// The key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Rsa { modulus: Vec<u8>, exponent: u32 },
    Ec { curve: Curve, point: Vec<u8> },
}

/// An elliptic curve of the NIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

/// Why a public area was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublicAreaError {
    /// It is no `TPMT_PUBLIC`.
    #[error("the public area is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// Its key or one of its algorithms is of a kind that is not known here.
    #[error("the public area has {what} {id:#06x}, which is not supported")]
    Unsupported {
        /// What is.
        what: &'static str,
        /// Its number in the TCG Algorithm Registry.
        id: u16,
    },
}

impl PublicArea {
    /// Reads a `TPMT_PUBLIC`.
    pub(super) fn parse(area: &[u8]) -> Result<Self, PublicAreaError> {
        let mut reader = Reader::new(area);
        let kind = reader.u16()?;
        let name_algorithm = hash(reader.u16()?, "the name algorithm")?;
        let attributes = Attributes(reader.u32()?);
        let _policy = reader.sized()?;
        let symmetric_bits = symmetric(&mut reader)?;
        let (scheme, key) = match kind {
            RSA => rsa(&mut reader)?,
            ECC => ecc(&mut reader)?,
            id => return Err(unsupported("the key type", id)),
        };
        reader.finish()?;
        Ok(Self {
            name: Name::of(name_algorithm, area),
            name_algorithm,
            attributes,
            symmetric_bits,
            scheme,
            key,
        })
    }
}

impl Name {
    /// Part 1, section 16: `nameAlg ‖ H(publicArea)`.
    fn of(algorithm: HashAlgorithm, area: &[u8]) -> Self {
        let mut name = algorithm.id().to_be_bytes().to_vec();
        name.extend(algorithm.digest(&[area]));
        Self(name)
    }

    /// As it stands in structures.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Attributes {
    pub(super) const FIXED_TPM: (u32, &str) = (1, "fixedTPM");
    pub(super) const FIXED_PARENT: (u32, &str) = (4, "fixedParent");
    pub(super) const SENSITIVE_DATA_ORIGIN: (u32, &str) = (5, "sensitiveDataOrigin");
    pub(super) const RESTRICTED: (u32, &str) = (16, "restricted");
    pub(super) const DECRYPT: (u32, &str) = (17, "decrypt");
    pub(super) const SIGN: (u32, &str) = (18, "sign");

    pub(super) fn has(self, (bit, _): (u32, &str)) -> bool {
        self.0 & (1 << bit) != 0
    }
}

impl Curve {
    pub(super) const fn coordinate(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::P256 => ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
            Self::P384 => ObjectIdentifier::new_unwrap("1.3.132.0.34"),
        }
    }
}

impl Key {
    /// Reads an `RSAPublicKey` of 2,048 to 4,096 bits (RFC 8017, appendix A.1.1).
    pub(super) fn of_rsa_bits(bits: &[u8]) -> Option<Self> {
        let RsaPublicKey { modulus, exponent } = RsaPublicKey::from_der(bits).ok()?;
        Self::of_rsa_numbers(modulus.as_bytes(), exponent.as_bytes())
    }

    /// From modulus and exponent, big-endian without leading zeros: 2,048 to 4,096 bits.
    pub(super) fn of_rsa_numbers(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let exponent: [u8; 4] = padded(exponent, 4).ok()?.try_into().ok()?;
        (256..=512).contains(&modulus.len()).then(|| Self::Rsa {
            modulus: modulus.to_vec(),
            exponent: u32::from_be_bytes(exponent),
        })
    }

    /// What stands in the BIT STRING of a certificate: an `RSAPublicKey` (RFC 8017, appendix A.1.1), or an uncompressed point.
    pub(super) fn bits(&self) -> Option<Vec<u8>> {
        match self {
            Self::Ec { point, .. } => Some(point.clone()),
            Self::Rsa { modulus, exponent } => {
                let exponent = exponent.to_be_bytes();
                let fields = [
                    UintRef::new(modulus).ok()?.to_der().ok()?,
                    UintRef::new(&exponent).ok()?.to_der().ok()?,
                ];
                sequence(&fields.concat())
            }
        }
    }

    /// The SubjectPublicKeyInfo in DER (RFC 5280, section 4.1; RFC 3279, section 2.3.1; RFC 5480, section 2.1.1).
    pub(super) fn spki(&self) -> Option<Vec<u8>> {
        let algorithm = match self {
            Self::Rsa { .. } => [RSA_ENCRYPTION.to_der().ok()?, vec![0x05, 0x00]].concat(),
            Self::Ec { curve, .. } => {
                [EC_PUBLIC_KEY.to_der().ok()?, curve.oid().to_der().ok()?].concat()
            }
        };
        let bits = BitString::from_bytes(&self.bits()?).ok()?.to_der().ok()?;
        sequence(&[sequence(&algorithm)?, bits].concat())
    }
}

struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

impl<'a> RsaPublicKey<'a> {
    fn from_der(bits: &'a [u8]) -> Result<Self, x509_cert::der::Error> {
        let mut reader = SliceReader::new(bits)?;
        let key = reader.sequence(|fields| {
            Ok::<_, x509_cert::der::Error>(Self {
                modulus: UintRef::decode(fields)?,
                exponent: UintRef::decode(fields)?,
            })
        })?;
        reader.finish()?;
        Ok(key)
    }
}

fn sequence(content: &[u8]) -> Option<Vec<u8>> {
    let length = Length::try_from(content.len()).ok()?;
    let header = Header::new(Tag::Sequence, length);
    Some([header.to_der().ok()?, content.to_vec()].concat())
}

/// `TPMT_SYM_DEF_OBJECT`: none, or AES in CFB mode.
fn symmetric(reader: &mut Reader<'_>) -> Result<Option<u16>, PublicAreaError> {
    match reader.u16()? {
        NULL => Ok(None),
        AES => {
            let bits = reader.u16()?;
            match reader.u16()? {
                CFB => Ok(Some(bits)),
                id => Err(unsupported("the mode of AES", id)),
            }
        }
        id => Err(unsupported("the symmetric algorithm", id)),
    }
}

fn rsa(reader: &mut Reader<'_>) -> Result<(Scheme, Key), PublicAreaError> {
    let scheme = match reader.u16()? {
        NULL => Scheme::None,
        RSASSA => Scheme::Rsassa(hash(reader.u16()?, "the scheme's hash")?),
        RSAPSS => Scheme::Rsapss(hash(reader.u16()?, "the scheme's hash")?),
        RSAES => Scheme::Other,
        OAEP => {
            reader.u16()?;
            Scheme::Other
        }
        id => return Err(unsupported("the signature scheme", id)),
    };
    let bits = reader.u16()?;
    let exponent = match reader.u32()? {
        0 => 65537,
        exponent => exponent,
    };
    let modulus = reader.sized()?;
    if usize::from(bits) != modulus.len() * 8 || !(2048..=4096).contains(&bits) {
        return Err(unsupported("an RSA key of the size", bits));
    }
    let modulus = modulus.to_vec();
    Ok((scheme, Key::Rsa { modulus, exponent }))
}

fn ecc(reader: &mut Reader<'_>) -> Result<(Scheme, Key), PublicAreaError> {
    let scheme = match reader.u16()? {
        NULL => Scheme::None,
        ECDSA => Scheme::Ecdsa(hash(reader.u16()?, "the scheme's hash")?),
        ECDH => {
            reader.u16()?;
            Scheme::Other
        }
        id => return Err(unsupported("the signature scheme", id)),
    };
    let curve = match reader.u16()? {
        NIST_P256 => Curve::P256,
        NIST_P384 => Curve::P384,
        id => return Err(unsupported("the curve", id)),
    };
    if reader.u16()? != NULL {
        reader.u16()?;
    }
    let point = point(curve, reader.sized()?, reader.sized()?)?;
    Ok((scheme, Key::Ec { curve, point }))
}

/// SEC 1, section 2.3.3, uncompressed. A TPM may leave leading zeros of a coordinate out.
pub(super) fn point(curve: Curve, x: &[u8], y: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut point = vec![4];
    for coordinate in [x, y] {
        point.extend(padded(coordinate, curve.coordinate())?);
    }
    Ok(point)
}

/// A number on `length` bytes.
pub(super) fn padded(number: &[u8], length: usize) -> Result<Vec<u8>, Malformed> {
    let missing = length.checked_sub(number.len()).ok_or(Malformed::Value)?;
    Ok([vec![0; missing], number.to_vec()].concat())
}

pub(super) fn hash(id: u16, what: &'static str) -> Result<HashAlgorithm, PublicAreaError> {
    HashAlgorithm::of_id(id).ok_or_else(|| unsupported(what, id))
}

fn unsupported(what: &'static str, id: u16) -> PublicAreaError {
    PublicAreaError::Unsupported { what, id }
}

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

// TCG Algorithm Registry, sections 5 and 6.4.
const RSA: u16 = 0x0001;
const AES: u16 = 0x0006;
const NULL: u16 = 0x0010;
pub(super) const RSASSA: u16 = 0x0014;
const RSAES: u16 = 0x0015;
pub(super) const RSAPSS: u16 = 0x0016;
const OAEP: u16 = 0x0017;
pub(super) const ECDSA: u16 = 0x0018;
const ECDH: u16 = 0x0019;
const ECC: u16 = 0x0023;
const CFB: u16 = 0x0043;
const NIST_P256: u16 = 0x0003;
const NIST_P384: u16 = 0x0004;
