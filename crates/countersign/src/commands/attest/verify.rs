//! `countersign attest verify`: what evidence in files comes to, offline.

use std::collections::BTreeMap;
use std::path::Path;

use countersign_attest::dcap::Collateral;
use countersign_attest::snp::Endorsement;
use countersign_attest::tpm::{
    AttestationKey, EventLog, HashAlgorithm, PcrValues, Quote, Quoter, VerifiedQuote, appraise,
};
use countersign_attest::{
    Appraisal, Evidence, Fact, Freshness, RootKeys, Technology, Tier, Verifier,
};
use jiff::Timestamp;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{SubjectPublicKeyInfoDer, pem};
use serde::Serialize;
use serde_json::Value;

use super::super::input::{Input, InputError};
use super::super::show::{self, Show};
use crate::cli::{AttestVerify, Format};
use crate::report::{Failure, Report, Verdict, printable};

/// `countersign attest verify FILE`.
pub(super) fn verify(options: &AttestVerify, format: Format) -> Result<(), Failure> {
    let now = options.at.unwrap_or_else(Timestamp::now);
    let content = read(&options.evidence)?;
    let evidence = Evidence::recognise(&content).map_err(|error| Unverified::Unreadable {
        file: options.evidence.display().to_string(),
        reason: error.to_string(),
    })?;
    let appraisal = Beside { options, now }.appraise(&evidence)?;
    match format {
        _ if options.ear => show::json(&json(&appraisal.to_ear(VERIFIER, Tier::None, None)))?,
        Format::Text => show::text(&appraisal)?,
        Format::Json => show::json(&json(&appraisal))?,
    }
    Ok(())
}

fn json(found: &impl Serialize) -> Value {
    serde_json::to_value(found).expect("an appraisal is always JSON")
}

/// What evidence is checked against.
struct Beside<'a> {
    options: &'a AttestVerify,
    now: Timestamp,
}

impl Beside<'_> {
    fn appraise(&self, evidence: &Evidence) -> Result<Appraisal, Failure> {
        let now = self.now;
        Ok(match evidence {
            Evidence::Snp(report) => {
                let endorsement = self.endorsement()?;
                let endorsement = endorsement.ok_or(Unverified::lacks("certificate", SNP))?;
                let question = self.question::<64>()?;
                refused(report.appraise(&endorsement, &RootKeys::amd(), question.as_ref(), now))?
            }
            Evidence::Quote(quote) => {
                let collateral = self.options.collateral.as_deref();
                let collateral = collateral.ok_or(Unverified::lacks("collateral", DCAP))?;
                let collateral = refused(Collateral::from_json(&read(collateral)?))?;
                let question = self.question::<64>()?;
                refused(quote.appraise(&collateral, &RootKeys::intel(), question.as_ref(), now))?
            }
            Evidence::Nitro(document) => {
                let question = self.options.question.as_deref().map(bytes).transpose()?;
                refused(document.appraise(&RootKeys::aws(), question.as_deref(), now))?
            }
            Evidence::Azure(report) => {
                let quote = self.options.quote.as_deref();
                let quote = read(quote.ok_or(Unverified::lacks("quote", AZURE))?)?;
                let key = match &self.options.key {
                    Some(_) => self.attestation_key()?,
                    None => report.unverified_key().clone(),
                };
                let quote = self.quote(&quote, &key)?;
                let endorsement = self.endorsement()?;
                refused(report.appraise(endorsement.as_ref(), &RootKeys::amd(), &quote, now))?
            }
            Evidence::Software(document) => {
                let key = self.key("the agent's key")?;
                refused(document.appraise(&key, self.question::<64>()?.as_ref(), now))?
            }
            Evidence::TpmQuote(attest) => self.tpm_quote(attest)?,
            _ => return Err(Unverified::Unsupported.into()),
        })
    }

    fn tpm_quote(&self, attest: &[u8]) -> Result<Appraisal, Failure> {
        let quote = self.quote(attest, &self.attestation_key()?)?;
        let log = self.options.event_log.as_deref().map(read).transpose()?;
        let log = log.map(|log| refused(EventLog::parse(&log))).transpose()?;
        let subject = self.options.evidence.display().to_string();
        let quoter = Quoter {
            subject: &subject,
            vendor: None,
        };
        let (appraisal, _) = refused(appraise(quoter, &quote, log.as_ref(), self.now))?;
        Ok(appraisal)
    }

    /// A TPM's quote with what is in the files beside it.
    fn quote(&self, attest: &[u8], key: &AttestationKey) -> Result<VerifiedQuote, Failure> {
        let signature = self.options.signature.as_deref();
        let signature = read(signature.ok_or(Unverified::lacks("signature", TPM))?)?;
        let pcrs = self.options.pcrs.as_deref();
        let pcrs = pcr_values(&read(pcrs.ok_or(Unverified::lacks("pcrs", TPM))?)?)?;
        let quote = refused(Quote::parse(attest, &signature))?;
        let question = self.options.question.as_deref().map(bytes).transpose()?;
        refused(quote.verify(key, question.as_deref(), None, pcrs))
    }

    fn attestation_key(&self) -> Result<AttestationKey, Failure> {
        refused(AttestationKey::unverified_from_spki(
            &self.key("the attestation key")?,
        ))
    }

    fn endorsement(&self) -> Result<Option<Endorsement>, Failure> {
        let (Some(certificate), Some(chain)) =
            (&self.options.certificate, &self.options.certificate_chain)
        else {
            return Ok(None);
        };
        refused(Endorsement::new(&read(certificate)?, &read(chain)?)).map(Some)
    }

    /// A public key in PEM or DER.
    fn key(&self, what: &'static str) -> Result<Vec<u8>, Failure> {
        let file = self.options.key.as_deref();
        let content = read(file.ok_or(Unverified::lacks("key", what))?)?;
        match SubjectPublicKeyInfoDer::from_pem_slice(&content) {
            Ok(key) => Ok(key.to_vec()),
            Err(pem::Error::NoItemsFound) => Ok(content),
            Err(error) => Err(Unverified::refused(&error).into()),
        }
    }

    fn question<const N: usize>(&self) -> Result<Option<[u8; N]>, Failure> {
        let question = self.options.question.as_deref().map(bytes).transpose()?;
        let question = question.map(|bytes| {
            let found = bytes.len();
            <[u8; N]>::try_from(bytes).map_err(|_| Unverified::QuestionLength { found, wanted: N })
        });
        Ok(question.transpose()?)
    }
}

/// What `tpm2_pcrread` prints: a bank with a colon, then its PCRs, each `7 : 0x…`.
fn pcr_values(text: &[u8]) -> Result<PcrValues, Unverified> {
    let text = String::from_utf8_lossy(text);
    let mut bank = None;
    let mut values = PcrValues::new();
    for (number, line) in (1..).zip(text.lines()) {
        let malformed = || Unverified::PcrLine { number };
        match line.trim().split_once(':') {
            None if line.trim().is_empty() => {}
            Some((name, "")) => bank = Some(hash(name.trim()).ok_or_else(malformed)?),
            Some((pcr, value)) => {
                let value = value.trim();
                let value = hex(value.strip_prefix("0x").unwrap_or(value));
                let pcr = pcr.trim().parse::<u8>().map_err(|_| malformed())?;
                let (bank, value) = bank.zip(value).ok_or_else(malformed)?;
                values = values.with(bank, pcr, &value);
            }
            None => return Err(malformed()),
        }
    }
    Ok(values)
}

fn hash(name: &str) -> Option<HashAlgorithm> {
    let all = [
        HashAlgorithm::Sha256,
        HashAlgorithm::Sha384,
        HashAlgorithm::Sha512,
    ];
    all.into_iter().find(|hash| hash.name() == name)
}

fn bytes(text: &str) -> Result<Vec<u8>, Unverified> {
    hex(text).ok_or(Unverified::Question)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(byte).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, InputError> {
    Input::read(path, LONGEST).map(|input| input.bytes().to_vec())
}

fn refused<T, E: std::error::Error>(outcome: Result<T, E>) -> Result<T, Failure> {
    outcome.map_err(|error| Unverified::refused(&error).into())
}

/// Why evidence comes to nothing.
#[derive(Debug, thiserror::Error)]
enum Unverified {
    #[error("`{file}` is no evidence: {reason}")]
    Unreadable { file: String, reason: String },
    #[error("the evidence does not hold: {reason}")]
    Refused { reason: String },
    #[error("evidence of this kind cannot be verified from files")]
    Unsupported,
    #[error("the evidence cannot be checked without `--{option}`")]
    Lacks {
        option: &'static str,
        what: &'static str,
    },
    #[error("what was asked with is not hexadecimal")]
    Question,
    #[error("what was asked with has {found} bytes, and such evidence holds {wanted}")]
    QuestionLength { found: usize, wanted: usize },
    #[error("line {number} of the PCR values is not what `tpm2_pcrread` prints")]
    PcrLine { number: usize },
}

impl Unverified {
    fn refused(error: &dyn std::error::Error) -> Self {
        Self::Refused {
            reason: error.to_string(),
        }
    }

    fn lacks(option: &'static str, what: &'static str) -> Self {
        Self::Lacks { option, what }
    }
}

impl Report for Unverified {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Lacks { option, what } => {
                Some(format!("name a file with {what}: `--{option} FILE`"))
            }
            Self::PcrLine { .. } => {
                Some("write it with `tpm2_pcrread sha256:0,1,2 > FILE`".to_owned())
            }
            _ => None,
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Unreadable { .. } | Self::Refused { .. } => Verdict::No,
            _ => Verdict::Unknown,
        }
    }
}

impl Show for Appraisal {
    fn result(&self) -> String {
        let vendor = self.vendor().unwrap_or("nobody's certificate");
        let fresh = match self.freshness() {
            Freshness::Nonce => "it answers what was asked",
            Freshness::Undated => "it may be from any time",
        };
        let mut text = format!(
            "{}, by {}: {}; {fresh}\n",
            self.technology(),
            printable(vendor),
            printable(self.subject())
        );
        if self.technology() == Technology::Software {
            text += "nothing but the machine's own word\n";
        }
        let mut rows: BTreeMap<String, String> = BTreeMap::new();
        for one in self.measurements() {
            let digits = one.value.iter().map(|byte| format!("{byte:02x}"));
            rows.insert(format!("measured  {}", one.name), digits.collect());
        }
        for (name, fact) in self.facts() {
            rows.insert(format!("fact      {name}"), in_words(fact));
        }
        for (name, value) in rows {
            text += &format!("  {} = {}\n", printable(&name), printable(&value));
        }
        if let Some(end) = self.valid_until() {
            text += &format!("  until     {end}\n");
        }
        for gap in self.unchecked() {
            text += &format!("  unchecked {}\n", printable(&gap.0));
        }
        text
    }
}

fn in_words(fact: &Fact) -> String {
    match fact {
        Fact::Flag(true) => "yes".to_owned(),
        Fact::Flag(false) => "no".to_owned(),
        Fact::Number(number) => number.to_string(),
        Fact::Text(text) => text.clone(),
        Fact::List(list) => list.join(", "),
    }
}

const SNP: &str = "the chip's certificate (VCEK or VLEK, DER), and its family's `cert_chain` with `--certificate-chain`";
const DCAP: &str = "Intel's collateral of the day, as JSON";
const AZURE: &str = "the quote of the virtual TPM, as `tpm2_quote` wrote it";
const TPM: &str = "what `tpm2_quote` wrote beside the quote";

const VERIFIER: Verifier<'_> = Verifier {
    developer: "Countersign",
    build: concat!("countersign ", env!("CARGO_PKG_VERSION")),
};

/// An event log is the longest.
const LONGEST: usize = 1024 * 1024;
