//! What agent and gateway say to each other about evidence: JSON bodies of the control API, bytes in base64.

use std::fmt;

use base64ct::{Base64, Encoding};
use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `POST /v1/enrol/tpm`: a machine shows its TPM and asks for a credential that only that TPM can open.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShowTpm {
    /// The join token, where the machine has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) join_token: Option<String>,
    /// The certificate of the endorsement key, then the intermediates that the TPM holds. Empty where the maker ships none.
    pub(crate) ek_certificates: Vec<Bytes>,
    /// The endorsement key, a `TPMT_PUBLIC`.
    pub(crate) ek_public: Bytes,
    /// The key that will quote, a `TPMT_PUBLIC`.
    pub(crate) ak_public: Bytes,
}

/// The answer to [`ShowTpm`].
#[derive(Serialize, Deserialize)]
pub(crate) struct TpmChallenge {
    /// What a `TPM2B_ID_OBJECT` holds (TPM 2.0 part 1, section 24).
    pub(crate) credential: Bytes,
    /// What a `TPM2B_ENCRYPTED_SECRET` holds.
    pub(crate) secret: Bytes,
}

/// `POST /v1/enrol/tpm/activate`: the TPM has opened the credential.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActivateTpm {
    /// The join token, where the machine has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) join_token: Option<String>,
    /// PKCS#10.
    pub(crate) certificate_request: Bytes,
    /// The agent's clock.
    pub(crate) now: Timestamp,
    /// HMAC-SHA-384 under the secret, over the certificate request.
    pub(crate) mac: Bytes,
}

/// The answer to `POST /v1/attest`: what a machine is to prove itself for.
#[derive(Serialize, Deserialize)]
pub(crate) struct Question {
    /// Good once, for half a minute, on this channel.
    pub(crate) nonce: Bytes,
    /// What a TPM is to quote: PCRs of the SHA-256 bank.
    pub(crate) pcrs: Vec<u8>,
}

/// `POST /v1/token`: the answer to a [`Question`].
#[derive(Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "evidence is neither the quote of a TPM nor the report of a confidential guest"
)]
pub(crate) enum Evidence {
    Quote(QuoteEvidence),
    Guest(GuestEvidence),
}

/// What a machine shows that has a TPM.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuoteEvidence {
    /// `TPMS_ATTEST`.
    pub(crate) attest: Bytes,
    /// `TPMT_SIGNATURE`.
    pub(crate) signature: Bytes,
    /// Each PCR that was quoted, with its value.
    pub(crate) pcrs: Vec<(u8, Bytes)>,
    /// The TCG event log, where the machine has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) event_log: Option<Bytes>,
}

/// What a confidential guest shows.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GuestEvidence {
    /// What its hardware signed: a report of SEV-SNP, a quote of TDX or SGX, a document of Nitro.
    pub(crate) report: Bytes,
    /// For SEV-SNP: the certificate of the chip's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<Bytes>,
    /// For SEV-SNP: the certificates above that, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificate_chain: Option<Bytes>,
    /// For TDX and SGX: Intel's collateral, JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) collateral: Option<Bytes>,
}

/// The body of `POST /v1/token`.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    /// Absent from a machine that has nothing but its own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) evidence: Option<Evidence>,
}

/// Bytes that are base64 on the wire.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Base64::encode_string(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let bytes = Base64::decode_vec(&text).map_err(|_| D::Error::custom("this is no base64"))?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.0.len())
    }
}
