//! What a gateway asks of machines: which TPMs let theirs in, what a quote has to hold, and how it stands to what is expected.

use std::collections::BTreeMap;

use countersign_attest::tpm::{
    AttestationKey, Binding, Clock, EndorsementKey, EventLog, HashAlgorithm, MachineState,
    PcrValues, Quote, Quoter, Selection, TpmRoots, TrustedEk, appraise,
};
use countersign_channel::binding::ChannelBinding;
use countersign_channel::identity::SpkiHash;
use countersign_policy::Appraisal;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::credential::{OpenCredential, SECRET};
use super::folder::{self, RootsError};
use super::guests::GuestRules;
use super::refusal::{EvidenceRefusal, TpmRefusal};
use super::standing::standing;
use super::wire::{Bytes, QuoteEvidence, ShowTpm, TpmChallenge};
use crate::config::AttestationConfig;
use crate::store::{AllowedEk, KnownTpm, Machine, Shown};

/// The configuration's word on machines, with the certificates that it names.
pub(crate) struct Rules {
    roots: TpmRoots,
    any_genuine: bool,
    selection: Selection,
    pub(crate) guests: GuestRules,
}

/// What was asked on a channel, and on which.
pub(crate) struct Asked {
    pub(crate) nonce: [u8; 32],
    pub(crate) channel: ChannelBinding,
    /// The agent's key, as the handshake proved it.
    pub(crate) agent_key: SpkiHash,
}

/// What evidence that holds comes to.
pub(crate) struct Appraised {
    pub(crate) appraisal: Appraisal,
    /// What the machine showed, to be compared later.
    pub(crate) shown: Shown,
    /// The TPM's clock, where it has one.
    pub(crate) clock: Option<String>,
    /// Whether an operator has said what it should show.
    pub(crate) is_expected: bool,
}

impl Rules {
    /// Reads the makers' certificates.
    ///
    /// # Errors
    ///
    /// [`RootsError`] names the file.
    pub(crate) fn read(config: &AttestationConfig) -> Result<Self, RootsError> {
        let roots = config.tpm_roots.as_deref().map(folder::tpm_roots);
        let roots = roots.transpose()?;
        Ok(Self {
            roots: roots.unwrap_or_default(),
            any_genuine: config.enrol_any_genuine_tpm,
            selection: Selection::of(HashAlgorithm::Sha256, config.pcrs.iter().copied()),
            guests: GuestRules::read(config)?,
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
        (machine, tpm): (&Machine, &KnownTpm),
        clock: Option<&str>,
        asked: &Asked,
        evidence: &QuoteEvidence,
        now: Timestamp,
    ) -> Result<Appraised, EvidenceRefusal> {
        let key = AttestationKey::parse(&tpm.ak_public)?;
        let quote = Quote::parse(&evidence.attest.0, &evidence.signature.0)?;
        let question = asked.binding().qualifying_data();
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
            subject: &tpm.ek_hash,
            vendor: tpm.vendor.as_deref(),
        };
        let (found, state) = appraise(quoter, &quote, log.as_ref(), now)?;
        let reference = machine.reference.as_ref();
        let (result, reasons) = standing(reference, |expected: &MachineState| {
            expected.compare(&state)
        });
        Ok(Appraised {
            appraisal: Appraisal::of(&found, result, reasons),
            shown: Shown {
                state: json(&state),
                at: now,
            },
            clock: Some(json(&quote.clock())),
            is_expected: reference.is_some(),
        })
    }
}

impl Asked {
    /// What a guest's report has to be for.
    pub(super) fn report_data(&self) -> [u8; 64] {
        self.binding().report_data()
    }

    fn binding(&self) -> Binding<'_> {
        Binding {
            gateway_certificate: &self.channel.gateway_certificate,
            exporter: &self.channel.exporter,
            agent_key: self.agent_key.as_bytes(),
            nonce: &self.nonce,
        }
    }
}

/// The name of an agent that is known by its TPM alone.
pub(crate) fn name_of_ek(ek_hash: &str) -> String {
    format!("tpm-{}", ek_hash.get(..16).unwrap_or(ek_hash))
}

fn values(evidence: &QuoteEvidence) -> PcrValues {
    let values = evidence.pcrs.iter();
    values.fold(PcrValues::new(), |values, (pcr, value)| {
        values.with(HashAlgorithm::Sha256, *pcr, &value.0)
    })
}

pub(super) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("numbers and texts are always JSON")
}
