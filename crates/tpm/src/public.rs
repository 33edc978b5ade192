//! The public area of an object (TPMT_PUBLIC; Part 2, section 12.2.4).

use crate::algorithm::{Hash, id};
use crate::command::Entity;
use crate::wire::{Malformed, Reader, Writer};

/// A public area, taken apart as far as anybody here asks.
#[derive(Clone)]
pub(crate) struct Public {
    /// TPMT_PUBLIC.
    pub(crate) bytes: Vec<u8>,
    pub(crate) key: PublicKey,
    name_hash: Hash,
    /// Where what is unique to the object begins: all before is its template.
    template_length: usize,
}

/// What is unique to an object.
#[derive(Clone)]
pub(crate) enum PublicKey {
    Rsa,
    Ecc { x: Vec<u8>, y: Vec<u8> },
    KeyedHash,
}

impl Public {
    /// Parses a whole TPMT_PUBLIC.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u16()?;
        let name_hash = Hash::from_id(reader.u16()?).ok_or(Malformed::Value)?;
        let _attributes = reader.u32()?;
        let _policy = reader.sized()?;
        parameters(&mut reader, kind)?;
        let template_length = bytes.len().saturating_sub(reader.left());
        let key = unique(&mut reader, kind)?;
        reader.finish()?;
        Ok(Self {
            bytes: bytes.to_vec(),
            key,
            name_hash,
            template_length,
        })
    }

    /// Its name (Part 1, section 14): the hash algorithm's number, then the hash of the public area.
    pub(crate) fn name(&self) -> Vec<u8> {
        let name = Writer::new().u16(self.name_hash.id());
        name.raw(&self.name_hash.of(&[&self.bytes])).finish()
    }

    pub(crate) fn entity(&self, handle: u32) -> Entity {
        let name = self.name();
        Entity { handle, name }
    }

    /// Whether it was made from `template`, which may have anything as its unique part.
    pub(crate) fn is_from(&self, template: &Self) -> bool {
        self.template() == template.template()
    }

    fn template(&self) -> Option<&[u8]> {
        self.bytes.get(..self.template_length)
    }
}

fn parameters(reader: &mut Reader<'_>, kind: u16) -> Result<(), Malformed> {
    match kind {
        id::RSA => {
            symmetric(reader)?;
            scheme(reader)?;
            let (_bits, _exponent) = (reader.u16()?, reader.u32()?);
        }
        id::ECC => {
            symmetric(reader)?;
            scheme(reader)?;
            let _curve = reader.u16()?;
            scheme(reader)?;
        }
        id::KEYED_HASH if reader.u16()? == id::NULL => {}
        _ => return Err(Malformed::Value),
    }
    Ok(())
}

fn symmetric(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    if reader.u16()? != id::NULL {
        let (_bits, _mode) = (reader.u16()?, reader.u16()?);
    }
    Ok(())
}

/// A scheme, or a key derivation: a hash algorithm follows. (RSAES and ECDAA, which differ, are in no key of ours.)
fn scheme(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    if reader.u16()? != id::NULL {
        let _hash = reader.u16()?;
    }
    Ok(())
}

fn unique(reader: &mut Reader<'_>, kind: u16) -> Result<PublicKey, Malformed> {
    Ok(match kind {
        id::ECC => PublicKey::Ecc {
            x: reader.sized()?.to_vec(),
            y: reader.sized()?.to_vec(),
        },
        id::RSA => {
            reader.sized()?;
            PublicKey::Rsa
        }
        _ => {
            reader.sized()?;
            PublicKey::KeyedHash
        }
    })
}

pub(crate) mod attribute {
    //! TPMA_OBJECT (Part 2, section 8.3).

    pub(crate) const FIXED_TPM: u32 = 1 << 1;
    pub(crate) const FIXED_PARENT: u32 = 1 << 4;
    pub(crate) const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
    pub(crate) const USER_WITH_AUTH: u32 = 1 << 6;
    pub(crate) const ADMIN_WITH_POLICY: u32 = 1 << 7;
    pub(crate) const NO_DA: u32 = 1 << 10;
    pub(crate) const RESTRICTED: u32 = 1 << 16;
    pub(crate) const DECRYPT: u32 = 1 << 17;
    pub(crate) const SIGN: u32 = 1 << 18;
}
