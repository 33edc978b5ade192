//! The runtime data of an Azure confidential VM: JSON that the report's data binds by its hash.

use aws_lc_rs::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use base64_simd::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::AzureError;
use crate::tpm::AttestationKey;

/// What Azure's paravisor says of the VM.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Runtime {
    keys: Vec<Jwk>,
    #[serde(rename = "vm-configuration", default)]
    pub(super) configuration: Configuration,
    #[serde(rename = "user-data", default)]
    pub(super) user_data: Option<String>,
}

/// How the VM was set up.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Configuration {
    pub(super) console_enabled: Option<bool>,
    pub(super) secure_boot: Option<bool>,
    pub(super) tpm_enabled: Option<bool>,
    #[serde(rename = "vmUniqueId")]
    pub(super) vm_unique_id: Option<String>,
}

/// A public key (RFC 7517).
#[derive(Clone, Debug, Deserialize)]
struct Jwk {
    kid: String,
    kty: String,
    n: String,
    e: String,
}

impl Runtime {
    pub(super) fn parse(json: &[u8]) -> Result<Self, AzureError> {
        serde_json::from_slice(json).map_err(|_| AzureError::Runtime)
    }

    /// The key that the virtual TPM signs quotes with. There is one, or it is not known which counts.
    pub(super) fn attestation_key(&self) -> Result<AttestationKey, AzureError> {
        let mut keys = self.keys.iter().filter(|key| key.kid == ATTESTATION_KEY);
        let (Some(key), None) = (keys.next(), keys.next()) else {
            return Err(AzureError::Runtime);
        };
        let number = |text: &str| URL_SAFE_NO_PAD.decode_to_vec(text).ok();
        let key = match (key.kty.as_str(), number(&key.n), number(&key.e)) {
            ("RSA", Some(n), Some(e)) => AttestationKey::unverified_from_rsa(&n, &e),
            _ => None,
        };
        key.ok_or(AzureError::Runtime)
    }
}

/// The hash of runtime data, by Azure's number for its algorithm, with zeros up to the length of a report's data.
pub(super) fn hash(kind: u32, data: &[u8]) -> Result<[u8; 64], AzureError> {
    let algorithm: &'static Algorithm = match kind {
        1 => &SHA256,
        2 => &SHA384,
        3 => &SHA512,
        found => return Err(AzureError::HashAlgorithm { found }),
    };
    let hash = digest(algorithm, data);
    let mut padded = [0; 64];
    for (place, byte) in padded.iter_mut().zip(hash.as_ref()) {
        *place = *byte;
    }
    Ok(padded)
}

/// The name of the attestation key in the runtime data.
const ATTESTATION_KEY: &str = "HCLAkPub";
