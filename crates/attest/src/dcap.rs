//! Intel TDX and SGX: quotes of the Data Center Attestation Primitives (Intel SGX ECDSA Quote Library Reference, appendix A; Intel TDX
//! DCAP Quoting Library API, appendix A.3).

mod collateral;
mod primitives;
mod refusal;

use std::collections::BTreeMap;

use dcap_qvl::quote::{AuthData, AuthDataV3, Quote as Parts, Report, TDReport10};
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{INTEL_QE_VENDOR_ID, PckCertFlag, QuoteClaims, QuotePolicy};
use jiff::Timestamp;

use crate::appraisal::{Appraisal, Fact, Measurement, Technology};
use crate::chain::RootKeys;
use crate::freshness;
use crate::hex;
use crate::little_endian::Fields;

pub use collateral::Collateral;
use primitives::OnAwsLc;
pub use refusal::QuoteError;

/// A quote whose signatures nobody has checked.
///
/// ```
/// use countersign_attest::dcap::{Quote, QuoteError};
///
/// assert_eq!(Quote::parse(b"too short").unwrap_err(), QuoteError::Malformed);
/// ```
///
/// It says nothing of the guest until it is appraised:
///
/// ```compile_fail,E0616
/// let quote = countersign_attest::dcap::Quote::parse(&[]).unwrap();
/// let report = quote.parts.report;
/// ```
#[derive(Clone, Debug)]
pub struct Quote {
    bytes: Vec<u8>,
    parts: Box<Parts>,
}

impl Quote {
    /// Reads a quote of version 3 (SGX), 4 or 5 (TDX). Zeros may follow, since quoting libraries hand out a buffer that is larger.
    ///
    /// # Errors
    ///
    /// [`QuoteError`] when it is too long, not Intel's, its lengths do not add up, or anything else follows.
    pub fn parse(bytes: &[u8]) -> Result<Self, QuoteError> {
        if bytes.len() > MAX_LEN {
            return Err(QuoteError::TooLong {
                what: "quote",
                found: bytes.len(),
                limit: MAX_LEN,
            });
        }
        let parts = Parts::parse(bytes).map_err(|_| QuoteError::Malformed)?;
        check_header(&parts)?;
        let end = length(bytes, &parts).ok_or(QuoteError::Malformed)?;
        let (quote, padding) = bytes.split_at_checked(end).ok_or(QuoteError::Malformed)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(QuoteError::Trailing { end });
        }
        Ok(Self {
            bytes: quote.to_vec(),
            parts: Box::new(parts),
        })
    }

    /// SGX or TDX.
    pub fn technology(&self) -> Technology {
        match self.parts.report {
            Report::SgxEnclave(_) => Technology::Sgx,
            Report::TD10(_) | Report::TD15(_) | Report::TD15Ex(_) => Technology::Tdx,
        }
    }

    /// Appraises the quote: every signature from one of `roots` to the report, revocation, Intel's rules for the quoting enclave and
    /// the TDX module, the TCB level, and that `binding` is the report's data where the caller has one.
    ///
    /// A guest or enclave that may be debugged is appraised as well, and so is firmware that Intel calls out of date: `debug` and
    /// `tcb_status` are facts, which a policy judges.
    ///
    /// # Errors
    ///
    /// [`QuoteError`] with what was expected and what was found.
    pub fn appraise(
        &self,
        collateral: &Collateral,
        roots: &RootKeys,
        binding: Option<&[u8; 64]>,
        now: Timestamp,
    ) -> Result<Appraisal, QuoteError> {
        let technology = self.technology();
        let (vendor, root) = collateral.root(roots)?;
        collateral.check_dates(now)?;
        refusal::check_platform(&self.parts, technology, collateral, now)?;
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        // Which TCB status is good enough is for a policy over facts to say, not for the verifier.
        let any = QuotePolicy::claims_only(seconds);
        let claims = QuoteVerifier::<OnAwsLc>::new_with_config(root.to_vec())
            .allow_debug(true)
            .verify_with_policy(&self.bytes, &collateral.parts, seconds, &any)
            .map_err(|refused| QuoteError::of(&refused, &self.parts, collateral))?;
        let (report_data, measurements) = measured(&claims.report);
        let asked = binding.map(<[u8; 64]>::as_slice);
        Ok(Appraisal {
            technology,
            vendor: Some(vendor.to_owned()),
            subject: hex::encode(&claims.platform.pck.ppid),
            freshness: freshness::of(Some(report_data), asked)?,
            measurements,
            facts: facts(&claims),
            unchecked: Vec::new(),
            appraised_at: now,
            valid_until: valid_until(&claims),
        })
    }
}

fn check_header(parts: &Parts) -> Result<(), QuoteError> {
    let header = &parts.header;
    if header.qe_vendor_id != INTEL_QE_VENDOR_ID {
        return Err(QuoteError::Vendor {
            expected: hex::encode(&INTEL_QE_VENDOR_ID),
            found: hex::encode(&header.qe_vendor_id),
        });
    }
    match header.attestation_key_type {
        ECDSA_P256 => Ok(()),
        found => Err(QuoteError::KeyType { found }),
    }
}

/// Where the quote ends, if its parts fill the lengths that it gives.
fn length(bytes: &[u8], parts: &Parts) -> Option<usize> {
    let signed = parts.signed_length();
    let mut rest = Fields(bytes.get(signed..)?);
    let signature = usize::try_from(rest.u32()?).ok()?;
    let expected = match &parts.auth_data {
        AuthData::V3(auth) => SIGNATURE_LEN + certified(auth),
        AuthData::V4(auth) => {
            let inner = certified(&auth.clone().into_v3());
            (auth.certification_data.body.data.len() == inner).then_some(())?;
            SIGNATURE_LEN + CERTIFICATION_HEADER_LEN + inner
        }
    };
    (signature == expected).then_some(signed + 4 + signature)
}

/// The quoting enclave's report with its signature, and who certified it.
fn certified(auth: &AuthDataV3) -> usize {
    let enclave = auth.qe_report.len() + auth.qe_report_signature.len();
    let data = 2 + auth.qe_auth_data.data.len();
    enclave + data + CERTIFICATION_HEADER_LEN + auth.certification_data.body.data.len()
}

/// The report's data, and what was measured.
fn measured(report: &Report) -> (&[u8], Vec<Measurement>) {
    let (data, all) = match report {
        Report::SgxEnclave(enclave) => (
            &enclave.report_data,
            vec![
                measurement("mrenclave", &enclave.mr_enclave),
                measurement("mrsigner", &enclave.mr_signer),
            ],
        ),
        Report::TD10(guest) => (&guest.report_data, guest_measurements(guest)),
        Report::TD15(guest) => (&guest.base.report_data, guest_measurements(&guest.base)),
        Report::TD15Ex(guest) => {
            let base = &guest.base.base;
            (&base.report_data, guest_measurements(base))
        }
    };
    let reported = [measurement("report_data", data)];
    (data, all.into_iter().chain(reported).collect())
}

fn guest_measurements(guest: &TDReport10) -> Vec<Measurement> {
    let all = [
        ("mrtd", &guest.mr_td),
        ("rtmr0", &guest.rt_mr0),
        ("rtmr1", &guest.rt_mr1),
        ("rtmr2", &guest.rt_mr2),
        ("rtmr3", &guest.rt_mr3),
        ("mrconfigid", &guest.mr_config_id),
        ("mrowner", &guest.mr_owner),
        ("mrownerconfig", &guest.mr_owner_config),
        ("mrseam", &guest.mr_seam),
        ("mrsignerseam", &guest.mr_signer_seam),
    ];
    all.map(|(name, value)| measurement(name, value)).into()
}

fn measurement(name: &str, value: &[u8]) -> Measurement {
    Measurement {
        name: name.to_owned(),
        value: value.to_vec(),
    }
}

fn facts(claims: &QuoteClaims) -> BTreeMap<&'static str, Fact> {
    let pck = &claims.platform.pck;
    let level = &claims.platform.tcb_level;
    let evaluation = claims.tcb.eval_data_number;
    let mut facts = BTreeMap::from([
        ("tcb_status", Fact::Text(claims.tcb.status.to_string())),
        ("advisories", Fact::List(claims.tcb.advisory_ids.clone())),
        ("tcb_date", Fact::Text(level.tcb_date.clone())),
        (
            "tcb_evaluation_data_number",
            Fact::Number(evaluation.into()),
        ),
        ("fmspc", Fact::Text(hex::encode(&pck.fmspc))),
        ("pce_svn", Fact::Number(pck.pce_svn.into())),
        ("quote_version", Fact::Number(claims.header.version.into())),
    ]);
    for (name, flag) in [
        ("platform_smt", pck.smt_enabled),
        ("dynamic_platform", pck.dynamic_platform),
        ("cached_keys", pck.cached_keys),
    ] {
        if flag != PckCertFlag::Undefined {
            facts.insert(name, Fact::Flag(flag == PckCertFlag::True));
        }
    }
    facts.extend(report_facts(&claims.report));
    facts
}

fn report_facts(report: &Report) -> Vec<(&'static str, Fact)> {
    if let Report::SgxEnclave(enclave) = report {
        let [flags, ..] = enclave.attributes;
        return vec![
            ("debug", Fact::Flag(flags & SGX_DEBUG != 0)),
            ("attributes", Fact::Text(hex::encode(&enclave.attributes))),
            ("isv_prod_id", Fact::Number(enclave.isv_prod_id.into())),
            ("isv_svn", Fact::Number(enclave.isv_svn.into())),
        ];
    }
    let Some(guest) = report.as_td10() else {
        return Vec::new();
    };
    let [under_debug, ..] = guest.td_attributes;
    vec![
        ("debug", Fact::Flag(under_debug != 0)),
        (
            "td_attributes",
            Fact::Text(hex::encode(&guest.td_attributes)),
        ),
        ("xfam", Fact::Text(hex::encode(&guest.xfam))),
        ("tee_tcb_svn", Fact::Text(hex::encode(&guest.tee_tcb_svn))),
    ]
}

/// The earliest end among collateral and certificates.
fn valid_until(claims: &QuoteClaims) -> Option<Timestamp> {
    let seconds = i64::try_from(claims.earliest_expiration_date).ok()?;
    Timestamp::from_second(seconds).ok()
}

/// Genuine ones have 4 to 5 KB, with three certificates in PEM; quoting libraries reserve up to 8 KB.
const MAX_LEN: usize = 32 * 1024;

/// The attestation key type of a quote's header.
const ECDSA_P256: u16 = 2;

/// The signature and the attestation key, 64 bytes each.
const SIGNATURE_LEN: usize = 128;

/// Type and length before certification data.
const CERTIFICATION_HEADER_LEN: usize = 6;

/// `ATTRIBUTES.DEBUG` (Intel SDM volume 3D, table 36-3).
const SGX_DEBUG: u8 = 1 << 1;
