//! Intel TDX and SGX: three quotes with the collateral of their day.

use countersign_attest::dcap::{Collateral, Quote, QuoteError};
use countersign_attest::tpm::Comparison;
use countersign_attest::{
    Appraisal, ChainError, Fact, Freshness, GuestState, RootKeys, Technology, WrongBinding,
};
use serde_json::Value;

use crate::support::{at, evidence, flipped, hex};

/// What a verifier is given.
struct Case {
    quote: Vec<u8>,
    collateral: Value,
    roots: RootKeys,
    binding: Option<[u8; 64]>,
    now: &'static str,
}

impl Case {
    fn genuine(name: &str, now: &'static str) -> Option<Self> {
        let collateral = evidence(&format!("{name}_collateral.json"))?;
        Some(Self {
            quote: evidence(name)?,
            collateral: serde_json::from_slice(&collateral).unwrap(),
            roots: RootKeys::intel(),
            binding: None,
            now,
        })
    }

    fn tdx() -> Option<Self> {
        Self::genuine("tdx_quote", NOW)
    }

    fn sgx() -> Option<Self> {
        Self::genuine("sgx_quote", NOW)
    }

    fn appraise(&self) -> Result<Appraisal, QuoteError> {
        let quote = Quote::parse(&self.quote)?;
        let collateral = Collateral::from_json(self.collateral.to_string().as_bytes())?;
        quote.appraise(
            &collateral,
            &self.roots,
            self.binding.as_ref(),
            at(self.now),
        )
    }
}

/// The genuine TDX evidence with one thing changed.
fn check(change: impl FnOnce(&mut Case), expected: QuoteError) {
    let Some(mut case) = Case::tdx() else {
        return;
    };
    change(&mut case);
    assert_eq!(case.appraise(), Err(expected));
}

fn text(value: &str) -> Fact {
    Fact::Text(value.to_owned())
}

#[test]
fn a_genuine_tdx_quote_is_appraised() {
    let Some(case) = Case::tdx() else {
        return;
    };
    let appraisal = case.appraise().unwrap();
    assert_eq!(appraisal.technology(), Technology::Tdx);
    assert_eq!(appraisal.vendor(), Some("Intel"));
    assert_eq!(appraisal.freshness(), Freshness::Undated);
    let names = appraisal.measurements().iter().map(|one| one.name.as_str());
    let names: Vec<_> = names.take(5).collect();
    assert_eq!(names, ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3"]);
    let facts = appraisal.facts();
    assert_eq!(facts["tcb_status"], text("UpToDate"));
    assert_eq!(facts["advisories"], Fact::List(vec![]));
    assert_eq!(facts["debug"], Fact::Flag(false));
    assert_eq!(facts["fmspc"], text("b0c06f000000"));
    assert!(appraisal.valid_until().unwrap() <= at("2025-07-19T10:16:03Z"));
}

#[test]
fn collateral_covers_the_quotes_of_its_platform() {
    let (Some(tdx), Some(sgx)) = (Case::tdx(), Case::sgx()) else {
        return;
    };
    let covers = |collateral: &Case, quote: &Case| {
        let collateral = Collateral::from_json(collateral.collateral.to_string().as_bytes());
        let quote = Quote::parse(&quote.quote).unwrap();
        collateral.unwrap().covers(&quote)
    };
    assert!(covers(&tdx, &tdx) && covers(&sgx, &sgx));
    assert!(!covers(&tdx, &sgx) && !covers(&sgx, &tdx));
}

#[test]
fn firmware_that_intel_has_advice_for_is_as_expected_with_a_remark() {
    let Some(case) = Case::sgx() else {
        return;
    };
    let state = GuestState::of(&case.appraise().unwrap());
    let remark = "Intel calls the platform's firmware ConfigurationAndSWHardeningNeeded";
    let expected = Comparison::Remarkable(vec![remark.to_owned()]);
    assert_eq!(state.compare(&state), expected);
}

#[test]
fn a_genuine_sgx_quote_is_appraised_with_what_it_needs() {
    let Some(case) = Case::sgx() else {
        return;
    };
    let appraisal = case.appraise().unwrap();
    assert_eq!(appraisal.technology(), Technology::Sgx);
    let names = appraisal.measurements().iter().map(|one| one.name.as_str());
    let names: Vec<_> = names.collect();
    assert_eq!(names, ["mrenclave", "mrsigner", "report_data"]);
    let facts = appraisal.facts();
    assert_eq!(
        facts["tcb_status"],
        text("ConfigurationAndSWHardeningNeeded")
    );
    let advisories = ["INTEL-SA-00289", "INTEL-SA-00615"].map(str::to_owned);
    assert_eq!(facts["advisories"], Fact::List(advisories.into()));
    assert!(facts.contains_key("debug"));
}

#[test]
fn a_platform_below_every_tcb_level_is_refused() {
    let Some(case) = Case::genuine("tdx_quote_outdated", "2026-03-01T00:00:00Z") else {
        return;
    };
    let Err(QuoteError::NoTcbLevel { lacks }) = case.appraise() else {
        panic!("{:?}", case.appraise());
    };
    assert_eq!(lacks, "SGX component 7 is 3, wanted 5");
}

#[test]
fn the_data_of_the_report_is_what_the_verifier_asked_with() {
    let Some(mut case) = Case::tdx() else {
        return;
    };
    let data: [u8; 64] = case.quote[568..632].try_into().unwrap();
    case.binding = Some(data);
    assert_eq!(case.appraise().unwrap().freshness(), Freshness::Nonce);
    case.binding = Some([7; 64]);
    let expected = WrongBinding {
        expected: "07".repeat(64),
        found: hex(&data),
    };
    assert_eq!(case.appraise(), Err(expected.into()));
}

/// Every byte of the header and the report, and every seventh of what follows: PEM and its lengths are not signed themselves, so
/// there an altered byte is refused or alters nothing.
fn every_byte_is_covered(case: Option<Case>, signed: usize) {
    let Some(mut case) = case else {
        return;
    };
    let expected = case.appraise();
    let quote = case.quote.clone();
    let places = (0..signed).chain((signed..quote.len()).step_by(7));
    for place in places {
        case.quote = flipped(&quote, place);
        let appraised = case.appraise();
        let same = place >= signed && appraised == expected;
        assert!(appraised.is_err() || same, "byte {place}");
    }
}

#[test]
fn every_byte_of_a_tdx_quote_is_covered() {
    every_byte_is_covered(Case::tdx(), 632);
}

#[test]
fn every_byte_of_an_sgx_quote_is_covered() {
    every_byte_is_covered(Case::sgx(), 432);
}

/// A letter of each text in turn, every 101st, so that it stays JSON.
#[test]
fn every_part_of_the_collateral_is_covered() {
    let Some(genuine) = Case::tdx() else {
        return;
    };
    let expected = genuine.appraise();
    for (part, value) in genuine.collateral.as_object().unwrap() {
        let text = value.as_str().unwrap();
        for place in (0..text.len()).step_by(101) {
            let mut altered = text.to_owned();
            let letter = if altered[place..].starts_with('1') {
                "2"
            } else {
                "1"
            };
            altered.replace_range(place..=place, letter);
            let mut case = Case::tdx().unwrap();
            case.collateral[part] = Value::String(altered);
            let appraised = case.appraise();
            assert!(
                appraised.is_err() || appraised == expected,
                "{part} {place}"
            );
        }
    }
}

#[test]
fn every_shorter_quote_is_refused() {
    let Some(case) = Case::tdx() else {
        return;
    };
    for length in 0..636 + 4300 {
        let cut = Quote::parse(&case.quote[..length]).map(drop);
        assert_eq!(cut, Err(QuoteError::Malformed), "{length}");
    }
}

#[test]
fn zeros_may_follow_and_nothing_else() {
    let longer = |byte: u8| move |case: &mut Case| case.quote.push(byte);
    check(longer(1), QuoteError::Trailing { end: 4936 });
    let Some(mut case) = Case::tdx() else {
        return;
    };
    let expected = case.appraise();
    longer(0)(&mut case);
    assert_eq!(case.appraise(), expected);
}

#[test]
fn lengths_that_do_not_add_up_are_refused() {
    let length = |at: usize, value: u32| {
        move |case: &mut Case| case.quote[at..at + 4].copy_from_slice(&value.to_le_bytes())
    };
    // Of everything after the report, and of the certification data in it.
    check(length(632, u32::MAX), QuoteError::Malformed);
    check(length(632, 4301), QuoteError::Malformed);
    check(length(636 + 130, u32::MAX), QuoteError::Malformed);
    check(length(636 + 130, 0), QuoteError::Malformed);
}

#[test]
fn what_is_too_long_is_refused_before_it_is_read() {
    let too_long = |what, found, limit| QuoteError::TooLong { what, found, limit };
    let refused = Quote::parse(&vec![0; 1 << 20]).map(drop);
    assert_eq!(refused, Err(too_long("quote", 1 << 20, 32 * 1024)));
    let refused = Collateral::from_json(&vec![b'['; 2 << 20]).map(drop);
    assert_eq!(refused, Err(too_long("collateral", 2 << 20, 1 << 20)));
}

#[test]
fn another_vendor_and_another_kind_of_key_are_refused() {
    let expected = "939a7233f79c4ca9940a0db3957f0607".to_owned();
    let vendor = QuoteError::Vendor {
        found: expected.replacen('9', "0", 1),
        expected,
    };
    check(|case| case.quote[12] = 0x03, vendor);
    check(|case| case.quote[2] = 3, QuoteError::KeyType { found: 3 });
}

#[test]
fn collateral_that_expired_is_refused() {
    let expected = QuoteError::Outdated {
        what: "TCB info",
        next_update: at("2025-07-19T10:16:03Z"),
        now: at("2025-07-19T10:16:04Z"),
    };
    check(|case| case.now = "2025-07-19T10:16:04Z", expected);
}

#[test]
fn collateral_from_the_future_is_refused() {
    let expected = QuoteError::NotYetIssued {
        what: "TCB info",
        issued: at("2025-06-19T10:16:03Z"),
        now: at("2025-06-19T10:16:02Z"),
    };
    check(|case| case.now = "2025-06-19T10:16:02Z", expected);
}

/// A quote may name its platform's key and leave the certificates to the collateral: they count where they are there.
#[test]
fn the_platforms_certificates_may_come_with_the_collateral() {
    let Some(mut case) = Case::tdx() else {
        return;
    };
    let expected = case.appraise();
    let pem = String::from_utf8_lossy(&case.quote).into_owned();
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----\n");
    let chain = &pem[pem.find(begin).unwrap()..pem.rfind(end).unwrap() + end.len()];
    case.collateral["pck_certificate_chain"] = chain.into();
    assert_eq!(case.appraise(), expected);
    // Intel's own signer is no platform.
    case.collateral["pck_certificate_chain"] = case.collateral["tcb_info_issuer_chain"].clone();
    assert_eq!(case.appraise(), Err(ChainError::Unreadable.into()));
    case.collateral["pck_certificate_chain"] = "".into();
    assert_eq!(case.appraise(), Err(ChainError::Unreadable.into()));
}

/// Dates are signed: with later ones the collateral is a forgery.
#[test]
fn collateral_with_altered_dates_does_not_authenticate() {
    let later = |part: &'static str| {
        move |case: &mut Case| {
            let text = case.collateral[part].as_str().unwrap();
            case.collateral[part] = text.replace("2025-07-19", "2035-07-19").into();
        }
    };
    check(later("tcb_info"), QuoteError::NotAuthentic);
    check(later("qe_identity"), QuoteError::NotAuthentic);
}

#[test]
fn collateral_of_another_platform_is_refused() {
    let other = Case::genuine("tdx_quote_outdated", "2026-03-01T00:00:00Z");
    let Some(other) = other else {
        return;
    };
    let expected = QuoteError::OtherPlatform {
        expected: "b0c06f000000".to_owned(),
        found: "90c06f000000".to_owned(),
    };
    let swap = |case: &mut Case| {
        case.collateral = other.collateral;
        case.now = other.now;
    };
    check(swap, expected);
}

#[test]
fn collateral_of_the_other_technology_is_refused() {
    let Some(sgx) = Case::sgx() else {
        return;
    };
    let expected = QuoteError::OtherTechnology {
        expected: "TDX",
        found: "SGX".to_owned(),
    };
    check(|case| case.collateral = sgx.collateral, expected);
}

#[test]
fn a_root_of_another_maker_is_refused() {
    let found = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3".to_owned();
    let expected = ChainError::UntrustedRoot { found };
    check(|case| case.roots = RootKeys::aws(), expected.into());
}

#[test]
fn an_altered_report_does_not_authenticate() {
    // A bit of MRTD, and the debug bit of the attributes.
    check(|case| case.quote[48 + 136] ^= 1, QuoteError::NotAuthentic);
    check(|case| case.quote[48 + 120] |= 1, QuoteError::NotAuthentic);
}

const NOW: &str = "2025-07-01T00:00:00Z";
