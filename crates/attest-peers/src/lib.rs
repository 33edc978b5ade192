#![doc = include_str!("../README.md")]
#![expect(
    clippy::missing_panics_doc,
    reason = "evidence that is not there or not genuine ends a test or a measurement"
)]

pub mod clock;
pub mod floor;

use std::path::{Path, PathBuf};

use countersign_attest::dcap::{Collateral, Quote};
use countersign_attest::nitro::Document;
use countersign_attest::snp::{Endorsement, Report};
use countersign_attest::{Appraisal, RootKeys};
use dcap_qvl::QuoteCollateralV3;
use jiff::Timestamp;
use sev::certs::snp::{Certificate, Chain, Verifiable as _, builtin, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;

/// A file in `evidence` of `COUNTERSIGN_VECTORS`, or of the folder beside the repository; nothing when there is no such folder.
pub fn evidence(file: &str) -> Option<Vec<u8>> {
    let folder = std::env::var_os("COUNTERSIGN_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    folder
        .is_dir()
        .then(|| std::fs::read(folder.join("evidence").join(file)).expect(file))
}

/// An SNP report with what endorses it.
pub struct Snp {
    /// The report's bytes.
    pub report: Vec<u8>,
    vcek: Vec<u8>,
    chain: Vec<u8>,
}

impl Snp {
    /// The genuine one.
    pub fn genuine() -> Option<Self> {
        let hex = evidence("report_milan.hex")?;
        let digits = str::from_utf8(&hex).expect("hexadecimal").trim();
        let byte = |at| u8::from_str_radix(digits.get(at..at + 2).expect("a digit"), 16);
        let report = (0..digits.len()).step_by(2).map(byte);
        Some(Self {
            report: report.collect::<Result<_, _>>().expect("hexadecimal"),
            vcek: evidence("vcek_milan.der")?,
            chain: evidence("cert_chain_milan")?,
        })
    }

    /// By countersign-attest.
    pub fn ours(&self, now: Timestamp) -> Option<Appraisal> {
        let endorsement = Endorsement::new(&self.vcek, &self.chain).ok()?;
        let report = Report::parse(&self.report).ok()?;
        report
            .appraise(&endorsement, &RootKeys::amd(), None, now)
            .ok()
    }

    /// By `sev`, which has the issuers built in and looks at no date.
    pub fn sev(&self) -> bool {
        let (Ok(ark), Ok(ask)) = (builtin::milan::ark(), builtin::milan::ask()) else {
            return false;
        };
        let Ok(vek) = Certificate::from_der(&self.vcek) else {
            return false;
        };
        let ca = ca::Chain { ark, ask };
        let report = AttestationReport::from_bytes(&self.report);
        report.is_ok_and(|report| (&Chain { ca, vek }, &report).verify().is_ok())
    }
}

/// A TDX or SGX quote with its collateral.
pub struct Intel {
    /// The quote's bytes.
    pub quote: Vec<u8>,
    collateral: Vec<u8>,
}

impl Intel {
    /// The genuine one of this name.
    pub fn genuine(name: &str) -> Option<Self> {
        Some(Self {
            quote: evidence(name)?,
            collateral: evidence(&format!("{name}_collateral.json"))?,
        })
    }

    /// By countersign-attest, the collateral's JSON included.
    pub fn ours(&self, now: Timestamp) -> Option<Appraisal> {
        let collateral = Collateral::from_json(&self.collateral).ok()?;
        let quote = Quote::parse(&self.quote).ok()?;
        quote
            .appraise(&collateral, &RootKeys::intel(), None, now)
            .ok()
    }

    /// By `dcap-qvl` on RustCrypto, the collateral's JSON included.
    pub fn dcap_qvl(&self, now: Timestamp) -> bool {
        let collateral = serde_json::from_slice::<QuoteCollateralV3>(&self.collateral);
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        collateral.is_ok_and(|collateral| {
            dcap_qvl::verify::rustcrypto::verify(&self.quote, &collateral, seconds).is_ok()
        })
    }
}

/// A Nitro attestation document, by countersign-attest.
pub fn nitro(document: &[u8], now: Timestamp) -> Option<Appraisal> {
    let document = Document::parse(document).ok()?;
    document.appraise(&RootKeys::aws(), None, now).ok()
}
