//! The fields of an attestation document: a CBOR map, with the limits that AWS gives.

use std::collections::BTreeMap;

use coset::cbor::Value;
use rustls_pki_types::CertificateDer;

use super::NitroError;

/// The hash that PCRs are made with; there is no other.
pub(super) const DIGEST: &str = "SHA384";

/// What the document says.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    pub(super) module_id: String,
    /// Milliseconds since 1970.
    pub(super) timestamp: u64,
    pub(super) pcrs: BTreeMap<u8, Vec<u8>>,
    /// From the leaf to the root.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) public_key: Option<Vec<u8>>,
    pub(super) user_data: Option<Vec<u8>>,
    pub(super) nonce: Option<Vec<u8>>,
}

pub(super) fn parse(payload: &[u8]) -> Result<Fields, NitroError> {
    let mut fields = Map::parse(payload)?;
    let digest = fields.text("digest")?;
    if digest != DIGEST {
        return Err(field("digest", "SHA384"));
    }
    let leaf = fields.bytes("certificate", MAX_FIELD_LEN)?;
    Ok(Fields {
        module_id: fields.text("module_id")?,
        timestamp: fields.number("timestamp")?,
        pcrs: fields.pcrs()?,
        chain: chain(leaf, fields.take("cabundle")?)?,
        public_key: fields.optional_bytes("public_key", MAX_FIELD_LEN)?,
        user_data: fields.optional_bytes("user_data", MAX_USER_LEN)?,
        nonce: fields.optional_bytes("nonce", MAX_USER_LEN)?,
    })
}

/// AWS lists the issuers from the root down.
fn chain(leaf: Vec<u8>, issuers: Value) -> Result<Vec<CertificateDer<'static>>, NitroError> {
    let unreadable = || field("cabundle", "a list of certificates");
    let issuers = issuers.into_array().map_err(|_| unreadable())?;
    let mut chain = vec![CertificateDer::from(leaf)];
    for issuer in issuers.into_iter().rev() {
        let der = issuer.into_bytes().map_err(|_| unreadable())?;
        chain.push(CertificateDer::from(der));
    }
    Ok(chain)
}

/// The fields that are not read yet.
struct Map(BTreeMap<String, Value>);

impl Map {
    /// A name that occurs twice is refused: which one counts would be the reader's choice.
    fn parse(mut payload: &[u8]) -> Result<Self, NitroError> {
        let unreadable = || field("payload", "a map of fields");
        let value = coset::cbor::de::from_reader_with_recursion_limit(&mut payload, MAX_DEPTH);
        let value: Value = value.map_err(|_| unreadable())?;
        if !payload.is_empty() {
            return Err(unreadable());
        }
        let mut fields = BTreeMap::new();
        for (name, value) in value.into_map().map_err(|_| unreadable())? {
            let name = name.into_text().map_err(|_| unreadable())?;
            if fields.insert(name, value).is_some() {
                return Err(unreadable());
            }
        }
        Ok(Self(fields))
    }

    fn take(&mut self, name: &'static str) -> Result<Value, NitroError> {
        self.0.remove(name).ok_or(field(name, "there"))
    }

    fn text(&mut self, name: &'static str) -> Result<String, NitroError> {
        match self.take(name)? {
            Value::Text(text) if (1..=MAX_FIELD_LEN).contains(&text.len()) => Ok(text),
            _ => Err(field(name, "a text of sensible length")),
        }
    }

    fn number(&mut self, name: &'static str) -> Result<u64, NitroError> {
        let number = self.take(name)?.into_integer().ok();
        number
            .and_then(|number| u64::try_from(number).ok())
            .ok_or(field(name, "a number"))
    }

    fn bytes(&mut self, name: &'static str, limit: usize) -> Result<Vec<u8>, NitroError> {
        let bytes = self.optional_bytes(name, limit)?;
        bytes.ok_or(field(name, "there"))
    }

    fn optional_bytes(
        &mut self,
        name: &'static str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, NitroError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bytes(bytes)) if bytes.len() <= limit => Ok(Some(bytes)),
            Some(_) => Err(field(name, "bytes within the limit")),
        }
    }

    /// 1 to 32 PCRs, each once and as long as SHA-384.
    fn pcrs(&mut self) -> Result<BTreeMap<u8, Vec<u8>>, NitroError> {
        let wrong = || field("pcrs", "1 to 32 hashes of 48 bytes by their index");
        let entries = self.take("pcrs")?.into_map().map_err(|_| wrong())?;
        let mut pcrs = BTreeMap::new();
        for (index, value) in entries {
            let index = index.into_integer().ok().and_then(|n| u8::try_from(n).ok());
            let index = index.filter(|index| *index < 32).ok_or_else(wrong)?;
            let value = value.into_bytes().map_err(|_| wrong())?;
            if value.len() != SHA384_LEN || pcrs.insert(index, value).is_some() {
                return Err(wrong());
            }
        }
        match pcrs.is_empty() {
            false => Ok(pcrs),
            true => Err(wrong()),
        }
    }
}

fn field(name: &'static str, expected: &'static str) -> NitroError {
    NitroError::Field { name, expected }
}

const SHA384_LEN: usize = 48;

/// A map of lists is as deep as a document goes.
const MAX_DEPTH: usize = 8;

/// AWS's limit for a certificate, a public key and a text.
const MAX_FIELD_LEN: usize = 1024;

/// AWS's limit for user data and the nonce.
const MAX_USER_LEN: usize = 512;
