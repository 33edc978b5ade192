//! What a gateway asks of machines: which TPMs let theirs in, what a quote has to hold, and how it stands to what is expected.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use countersign_attest::tpm::{
    AttestationKey, Binding, Clock, Comparison, EndorsementKey, EventLog, HashAlgorithm,
    MachineState, PcrValues, Quote, Quoter, Selection, TpmRoots, TrustedEk, appraise,
};
use countersign_channel::binding::ChannelBinding;
use countersign_channel::identity::SpkiHash;
use countersign_policy::{Appraisal, AppraisalResult};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::credential::{OpenCredential, SECRET};
use super::refusal::{EvidenceRefusal, TpmRefusal};
use super::wire::{Bytes, Evidence, ShowTpm, TpmChallenge};
use crate::config::AttestationConfig;
use crate::store::{AllowedEk, KnownTpm, Machine, Shown};

/// The configuration's word on machines, with the certificates that it names.
pub(crate) struct Rules {
    roots: TpmRoots,
    any_genuine: bool,
    selection: Selection,
}

/// What was asked on a channel, and on which.
pub(crate) struct Asked {
    pub(crate) nonce: [u8; 32],
    pub(crate) binding: ChannelBinding,
    /// The agent's key, as the handshake proved it.
    pub(crate) agent_key: SpkiHash,
}

/// What evidence that holds comes to.
pub(crate) struct Appraised {
    pub(crate) appraisal: Appraisal,
    /// What the machine showed, to be compared later.
    pub(crate) shown: Shown,
    /// The TPM's clock.
    pub(crate) clock: String,
}

/// Why the makers' certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RootsError {
    /// The folder or a file in it cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// A file is no certificate of an authority.
    #[error("`{}` cannot be used: {reason}", path.display())]
    Unusable { path: PathBuf, reason: String },
    /// The folder holds none.
    #[error("`{}` holds no certificate of a TPM maker", path.display())]
    None { path: PathBuf },
}

impl Rules {
    /// Reads the makers' certificates.
    ///
    /// # Errors
    ///
    /// [`RootsError`] names the file.
    pub(crate) fn read(config: &AttestationConfig) -> Result<Self, RootsError> {
        let roots = config.tpm_roots.as_deref().map(read_roots).transpose()?;
        Ok(Self {
            roots: roots.unwrap_or_default(),
            any_genuine: config.enrol_any_genuine_tpm,
            selection: Selection::of(HashAlgorithm::Sha256, config.pcrs.iter().copied()),
        })
    }

    /// A credential that only the TPM that was shown can open, if that TPM lets its machine in.
    ///
    /// # Errors
    ///
    /// A key is not what it has to be, or nobody vouches for the TPM.
    pub(crate) fn credential(
        &self,
        shown: &ShowTpm,
        allowed: &BTreeMap<String, AllowedEk>,
        now: Timestamp,
    ) -> Result<(TpmChallenge, OpenCredential), TpmRefusal> {
        let key = AttestationKey::parse(&shown.ak_public.0)
            .map_err(|error| TpmRefusal::key("attestation key", &error))?;
        let name = key.name().ok_or(TpmRefusal::NotOpened)?.clone();
        let endorsement = EndorsementKey::parse(&shown.ek_public.0)
            .map_err(|error| TpmRefusal::key("endorsement key", &error))?;
        let hash = endorsement.hash();
        let listed = allowed.get(&hash.to_string());
        let trusted = self.trusted(endorsement, shown, listed.is_some(), now)?;
        let by_itself = listed.is_some() || self.any_genuine;
        if shown.join_token.is_none() && !by_itself {
            return Err(TpmRefusal::untrusted(
                hash,
                "it is not listed, and genuine TPMs come in by a join token",
            ));
        }
        let secret = Zeroizing::new(crate::random::bytes::<SECRET>());
        let credential = trusted.credential(&name, &*secret);
        let credential = credential.map_err(|_| TpmRefusal::Randomness)?;
        let agent_name =
            listed.map_or_else(|| name_of_ek(&hash.to_string()), |key| key.name.clone());
        let tpm = KnownTpm {
            ek_hash: hash.to_string(),
            vendor: trusted.vendor().map(str::to_owned),
            ak_public: shown.ak_public.0.clone(),
        };
        let challenge = TpmChallenge {
            credential: Bytes(credential.id_object),
            secret: Bytes(credential.encrypted_secret),
        };
        Ok((challenge, OpenCredential::new(tpm, agent_name, secret)))
    }

    /// By an operator's list, else by the maker's certificate: who lists a key may have a reason to trust no certificate of it.
    fn trusted(
        &self,
        key: EndorsementKey,
        shown: &ShowTpm,
        is_listed: bool,
        now: Timestamp,
    ) -> Result<TrustedEk, TpmRefusal> {
        let key = match key.listed(|_| is_listed) {
            Ok(trusted) => return Ok(trusted),
            Err(key) => key,
        };
        let hash = key.hash();
        let certificates = shown.ek_certificates.iter();
        let certificates: Vec<_> = certificates
            .map(|der| CertificateDer::from(der.0.as_slice()))
            .collect();
        key.certified(&certificates, &self.roots, now)
            .map_err(|error| TpmRefusal::untrusted(hash, &error.to_string()))
    }

    /// What evidence comes to, if it holds: it answers what was asked on this channel, the enrolled key signed it, its log replays, and
    /// the TPM's clock has not gone back.
    ///
    /// # Errors
    ///
    /// [`EvidenceRefusal`] says what does not hold.
    pub(crate) fn appraise(
        &self,
        machine: &Machine,
        clock: Option<&str>,
        asked: &Asked,
        evidence: &Evidence,
        now: Timestamp,
    ) -> Result<Appraised, EvidenceRefusal> {
        let key = AttestationKey::parse(&machine.tpm.ak_public)?;
        let quote = Quote::parse(&evidence.attest.0, &evidence.signature.0)?;
        let question = asked.qualifying_data();
        let quote = quote.verify(
            &key,
            Some(&question),
            Some(&self.selection),
            values(evidence),
        )?;
        if let Some(before) = clock.and_then(|text| serde_json::from_str::<Clock>(text).ok()) {
            quote.clock().follows(&before)?;
        }
        let log = evidence.event_log.as_ref();
        let log = log.map(|log| EventLog::parse(&log.0)).transpose()?;
        let quoter = Quoter {
            subject: &machine.tpm.ek_hash,
            vendor: machine.tpm.vendor.as_deref(),
        };
        let (found, state) = appraise(quoter, &quote, log.as_ref(), now)?;
        let (result, reasons) = standing(machine, &state);
        Ok(Appraised {
            appraisal: Appraisal::of(&found, result, reasons),
            shown: Shown {
                state: json(&state),
                at: now,
            },
            clock: json(&quote.clock()),
        })
    }
}

impl Asked {
    /// What the quote has to be for.
    fn qualifying_data(&self) -> Vec<u8> {
        Binding {
            gateway_certificate: &self.binding.gateway_certificate,
            exporter: &self.binding.exporter,
            agent_key: self.agent_key.as_bytes(),
            nonce: &self.nonce,
        }
        .qualifying_data()
    }
}

/// What differs between what is expected of a machine and what it showed, in sentences.
pub(crate) fn differences(reference: &str, shown: &str) -> Vec<String> {
    let read = |text| serde_json::from_str::<MachineState>(text).ok();
    match read(reference).zip(read(shown)) {
        None => vec!["what was kept of the machine cannot be read".to_owned()],
        Some((reference, shown)) => match reference.compare(&shown) {
            Comparison::Remarkable(reasons) | Comparison::Different(reasons) => reasons,
            _ => Vec::new(),
        },
    }
}

/// The name of an agent that is known by its TPM alone.
pub(crate) fn name_of_ek(ek_hash: &str) -> String {
    format!("tpm-{}", ek_hash.get(..16).unwrap_or(ek_hash))
}

/// Where nothing is expected nothing is affirmed.
fn standing(machine: &Machine, shown: &MachineState) -> (AppraisalResult, Vec<String>) {
    let Some(reference) = &machine.reference else {
        return (AppraisalResult::None, Vec::new());
    };
    let Ok(reference) = serde_json::from_str::<MachineState>(&reference.state) else {
        let reason = "what is expected of the machine cannot be read".to_owned();
        return (AppraisalResult::Contraindicated, vec![reason]);
    };
    match reference.compare(shown) {
        Comparison::Same => (AppraisalResult::Affirming, Vec::new()),
        Comparison::Remarkable(reasons) => (AppraisalResult::Warning, reasons),
        Comparison::Different(reasons) => (AppraisalResult::Contraindicated, reasons),
        _ => (AppraisalResult::Contraindicated, Vec::new()),
    }
}

fn values(evidence: &Evidence) -> PcrValues {
    let values = evidence.pcrs.iter();
    values.fold(PcrValues::new(), |values, (pcr, value)| {
        values.with(HashAlgorithm::Sha256, *pcr, &value.0)
    })
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("numbers and texts are always JSON")
}

/// Every file of the folder, DER or PEM.
fn read_roots(folder: &Path) -> Result<TpmRoots, RootsError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| RootsError::Unreadable { path, source }
    };
    let mut roots = TpmRoots::default();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        if path.is_dir() {
            continue;
        }
        let content = fs::read(&path).map_err(unreadable(&path))?;
        let unusable = |reason: String| RootsError::Unusable {
            path: path.clone(),
            reason,
        };
        for der in certificates(content).map_err(unusable)? {
            roots
                .add(&der)
                .map_err(|error| unusable(error.to_string()))?;
        }
    }
    match roots.is_empty() {
        true => Err(RootsError::None {
            path: folder.to_owned(),
        }),
        false => Ok(roots),
    }
}

fn certificates(content: Vec<u8>) -> Result<Vec<CertificateDer<'static>>, String> {
    if !content.trim_ascii_start().starts_with(b"-----BEGIN") {
        return Ok(vec![content.into()]);
    }
    let read = CertificateDer::pem_slice_iter(&content).collect::<Result<Vec<_>, _>>();
    read.map_err(|error| error.to_string())
}
