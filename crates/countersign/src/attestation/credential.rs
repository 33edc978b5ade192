//! How a TPM lets its machine in: a secret that only it can open comes back as a MAC over the certificate request.
//!
//! The credential names the key that will quote (TPM 2.0 part 1, section 24), so that a TPM opens it for a key of its own
//! and no other; whoever answers therefore holds the endorsement key and that key in one TPM.

use aws_lc_rs::hmac::{self, HMAC_SHA384};
use zeroize::Zeroizing;

use super::refusal::TpmRefusal;
use crate::store::KnownTpm;

/// A credential that was given to a TPM and not answered yet.
pub(crate) struct OpenCredential {
    tpm: KnownTpm,
    agent_name: String,
    secret: Zeroizing<[u8; SECRET]>,
}

/// A TPM that opened its credential: it is the one whose endorsement key is trusted, and holds the key that will quote.
///
/// Only [`OpenCredential::prove`] makes one.
#[derive(Debug)]
pub(crate) struct ProvenTpm {
    tpm: KnownTpm,
    agent_name: String,
}

impl OpenCredential {
    pub(super) fn new(tpm: KnownTpm, agent_name: String, secret: Zeroizing<[u8; SECRET]>) -> Self {
        Self {
            tpm,
            agent_name,
            secret,
        }
    }

    /// Checks that the TPM opened the credential for this certificate request.
    ///
    /// # Errors
    ///
    /// The MAC is not made with the secret.
    pub(crate) fn prove(
        self,
        mac: &[u8],
        certificate_request: &[u8],
    ) -> Result<ProvenTpm, TpmRefusal> {
        let key = hmac::Key::new(HMAC_SHA384, &*self.secret);
        hmac::verify(&key, certificate_request, mac).map_err(|_| TpmRefusal::NotOpened)?;
        Ok(ProvenTpm {
            tpm: self.tpm,
            agent_name: self.agent_name,
        })
    }
}

impl ProvenTpm {
    /// The TPM.
    pub(crate) fn tpm(&self) -> &KnownTpm {
        &self.tpm
    }

    /// The name that its agent gets where no join token gives another.
    pub(crate) fn agent_name(&self) -> &str {
        &self.agent_name
    }
}

/// What the agent answers with: HMAC-SHA-384 under the secret, over the certificate request.
pub(crate) fn mac(secret: &[u8], certificate_request: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(HMAC_SHA384, secret);
    hmac::sign(&key, certificate_request).as_ref().to_vec()
}

/// As long as the digest of every endorsement key's name algorithm: the longest that all TPMs take (part 1, section 24).
pub(super) const SECRET: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> OpenCredential {
        let tpm = KnownTpm {
            ek_hash: "ab".repeat(32),
            vendor: None,
            ak_public: vec![1],
        };
        OpenCredential::new(tpm, "tpm-ab".to_owned(), Zeroizing::new([7; SECRET]))
    }

    #[test]
    fn whoever_has_the_secret_proves_the_tpm() {
        let proven = open().prove(&mac(&[7; SECRET], b"request"), b"request");
        assert_eq!(proven.unwrap().agent_name(), "tpm-ab");
    }

    #[test]
    fn another_secret_or_another_request_proves_nothing() {
        for mac in [mac(&[8; SECRET], b"request"), mac(&[7; SECRET], b"other")] {
            let refused = open().prove(&mac, b"request").unwrap_err();
            assert_eq!(refused.code(), "not_activated");
        }
    }
}
