//! `countersign attest show`: what this machine can prove.

use countersign_attest::tpm::EndorsementKey;
use countersign_tpm::{Address, Tpm};
use serde::Serialize;

use super::super::show::{self, Show};
use crate::cli::Format;
use crate::report::{Failure, Report, printable};

/// `countersign attest show`.
pub(super) fn show(address: &Address, format: Format) -> Result<(), Failure> {
    let machine = Machine::of(address).map_err(NoTpm)?;
    Ok(show::print(&machine, format)?)
}

/// What a TPM says of itself. It proves nothing here.
#[derive(Serialize)]
struct Machine {
    device: String,
    manufacturer: String,
    firmware: String,
    pcr_banks: Vec<String>,
    endorsement_keys: Vec<Endorsement>,
    is_locked: bool,
}

#[derive(Serialize)]
struct Endorsement {
    kind: String,
    /// What `countersign agents allow-ek` takes; nothing where such a key cannot be used here.
    hash: Option<String>,
}

impl Machine {
    fn of(address: &Address) -> Result<Self, countersign_tpm::Error> {
        let mut tpm = Tpm::open(address)?;
        let capabilities = tpm.capabilities()?;
        let mut endorsement_keys = Vec::new();
        for certificate in tpm.endorsement_certificates()? {
            let public = tpm.endorsement_key(certificate.kind)?.public;
            let key = EndorsementKey::parse(&public).ok();
            endorsement_keys.push(Endorsement {
                kind: format!("{:?}", certificate.kind),
                hash: key.map(|key| key.hash().to_string()),
            });
        }
        let banks = capabilities.pcr_banks.iter();
        Ok(Self {
            device: address.to_string(),
            manufacturer: capabilities.manufacturer,
            firmware: capabilities.firmware,
            pcr_banks: banks.map(|bank| bank.hash.to_string()).collect(),
            endorsement_keys,
            is_locked: capabilities.lockout.is_locked,
        })
    }
}

impl Show for Machine {
    fn result(&self) -> String {
        let (maker, firmware) = (printable(&self.manufacturer), printable(&self.firmware));
        let banks = self.pcr_banks.join(", ");
        let mut text = format!(
            "TPM 2.0 at {}: {maker}, firmware {firmware}, PCR banks {banks}\n",
            printable(&self.device)
        );
        for key in &self.endorsement_keys {
            let hash = key
                .hash
                .as_deref()
                .unwrap_or("of a kind that is not supported");
            text += &format!("endorsement key with a certificate, {}: {hash}\n", key.kind);
        }
        if self.endorsement_keys.is_empty() {
            text += "no endorsement certificate: an operator lists the key that a refused join prints\n";
        }
        if self.is_locked {
            text += "it is locked by wrong passwords; keys of the agent need none\n";
        }
        text
    }
}

/// The TPM does not say what it can.
#[derive(Debug, thiserror::Error)]
#[error("the TPM: {0}")]
struct NoTpm(countersign_tpm::Error);

impl Report for NoTpm {
    fn hint(&self) -> Option<String> {
        self.0.remedy()
    }
}
