//! Quotes and keys that are wrong in one thing each, properly signed where the signature is not what is wrong.

use countersign_attest::Freshness;
use countersign_attest::tpm::{
    AttestationKey, HashAlgorithm, PcrValues, Quote, Selection, VerifiedQuote,
};

use crate::forge::{ATTESTATION, Forge, QUESTION, Says, values};

fn pcrs() -> Vec<(u8, Vec<u8>)> {
    vec![(0, vec![1; 32]), (7, vec![2; 32])]
}

fn verified(forge: &Forge, says: &Says) -> Result<VerifiedQuote, String> {
    let (attest, signature) = forge.sign(says);
    let quote = Quote::parse(&attest, &signature).map_err(|error| error.to_string())?;
    let asked = Selection::of(HashAlgorithm::Sha256, [0, 7]);
    quote
        .verify(&forge.key(), Some(QUESTION), Some(&asked), values(&pcrs()))
        .map_err(|error| error.to_string())
}

/// What a quote is refused with when its key says this instead.
fn check(change: impl FnOnce(&mut Says), expected: &str) {
    let mut says = Says::over(&pcrs());
    change(&mut says);
    let refused = verified(&Forge::new(), &says).unwrap_err();
    assert!(refused.contains(expected), "{refused}");
}

#[test]
fn a_quote_that_holds_is_taken() {
    assert!(verified(&Forge::new(), &Says::over(&pcrs())).is_ok());
}

#[test]
fn nothing_but_a_tpm_says_the_magic_number() {
    check(
        |says| says.magic = 0,
        "the magic number is 0x0, expected 0xff544347",
    );
}

#[test]
fn a_certification_is_no_quote() {
    check(
        |says| says.kind = 0x8017,
        "the type is 0x8017, expected 0x8018",
    );
}

#[test]
fn an_older_answer_is_refused() {
    check(
        |says| says.question = b"yesterday's".to_vec(),
        "another question",
    );
}

#[test]
fn a_longer_answer_is_refused() {
    check(|says| says.question.push(0), "another question");
}

#[test]
fn fewer_pcrs_than_asked_for_are_refused() {
    check(
        |says| *says = Says::over(&[(0, vec![1; 32])]),
        "over the PCRs sha256:0, asked for were sha256:0,7",
    );
}

#[test]
fn other_values_than_those_quoted_are_refused() {
    check(|says| says.values[1][0] = 9, "not those that were quoted");
}

#[test]
fn the_sha1_bank_is_refused() {
    check(|says| says.bank = 0x0004, "malformed");
}

#[test]
fn a_bitmap_of_absurd_length_is_refused() {
    check(|says| says.bitmap = vec![0; 200], "malformed");
}

#[test]
fn another_key_is_refused() {
    let (attest, signature) = Forge::new().sign(&Says::over(&pcrs()));
    let quote = Quote::parse(&attest, &signature).unwrap();
    let refused = quote.verify(&Forge::new().key(), Some(QUESTION), None, values(&pcrs()));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "the quote is not signed by the attestation key"
    );
}

#[test]
fn a_quote_that_was_not_asked_for_is_undated() {
    let forge = Forge::new();
    let quote = forge.quote(&Says::over(&pcrs()));
    let verified = quote
        .verify(&forge.key(), None, None, values(&pcrs()))
        .unwrap();
    let quoter = countersign_attest::tpm::Quoter {
        subject: "a",
        vendor: None,
    };
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let (appraisal, _) = countersign_attest::tpm::appraise(quoter, &verified, None, now).unwrap();
    assert_eq!(appraisal.freshness(), Freshness::Undated);
}

#[test]
fn a_value_more_than_was_quoted_is_refused() {
    let forge = Forge::new();
    let quote = forge.quote(&Says::over(&pcrs()));
    let more = values(&pcrs()).with(HashAlgorithm::Sha256, 4, &[3; 32]);
    assert!(
        quote
            .verify(&forge.key(), Some(QUESTION), None, more)
            .is_err()
    );
}

#[test]
fn a_value_that_spans_two_pcrs_is_refused() {
    let forge = Forge::new();
    let quote = forge.quote(&Says::over(&pcrs()));
    let shifted = PcrValues::new()
        .with(HashAlgorithm::Sha256, 0, &[1; 31])
        .with(HashAlgorithm::Sha256, 7, &[vec![1], vec![2; 32]].concat());
    assert!(
        quote
            .verify(&forge.key(), Some(QUESTION), None, shifted)
            .is_err()
    );
}

#[test]
fn each_byte_counts_and_so_does_each_length() {
    let forge = Forge::new();
    let (attest, signature) = forge.sign(&Says::over(&pcrs()));
    let holds = |attest: &[u8], signature: &[u8]| {
        let quote = Quote::parse(attest, signature).ok();
        let quote =
            quote.map(|quote| quote.verify(&forge.key(), Some(QUESTION), None, values(&pcrs())));
        matches!(quote, Some(Ok(_)))
    };
    assert!(holds(&attest, &signature));
    for bit in 0..attest.len() * 8 {
        let mut altered = attest.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(!holds(&altered, &signature), "bit {bit} of the quote");
    }
    for bit in 0..signature.len() * 8 {
        let mut altered = signature.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(!holds(&attest, &altered), "bit {bit} of the signature");
    }
    for length in 0..attest.len() {
        assert!(!holds(&attest[..length], &signature), "{length} bytes");
    }
    assert!(!holds(&[attest.clone(), vec![0]].concat(), &signature));
    assert!(!holds(&attest, &[signature.clone(), vec![0]].concat()));
}

#[test]
fn a_quote_of_a_megabyte_is_refused_by_its_size() {
    let refused = Quote::parse(&vec![0xff; 1 << 20], &[]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the quote has 1048576 bytes, the limit is 2048"
    );
}

/// What a key is refused with whose attributes lack these bits or have them more.
fn attributes(changed: u32, expected: &str) {
    let public = Forge::new().public(ATTESTATION ^ changed);
    let refused = AttestationKey::parse(&public).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("the attestation key {expected}")
    );
}

#[test]
fn a_key_that_signs_anything_may_not_quote() {
    attributes(1 << 16, "lacks the attribute `restricted`");
}

#[test]
fn a_key_that_does_not_sign_may_not_quote() {
    attributes(1 << 18, "lacks the attribute `sign`");
}

#[test]
fn a_key_that_can_leave_its_tpm_may_not_quote() {
    attributes(1 << 1, "lacks the attribute `fixedTPM`");
}

#[test]
fn a_key_that_can_change_its_parent_may_not_quote() {
    attributes(1 << 4, "lacks the attribute `fixedParent`");
}

#[test]
fn a_key_that_was_made_elsewhere_may_not_quote() {
    attributes(1 << 5, "lacks the attribute `sensitiveDataOrigin`");
}

#[test]
fn a_key_that_decrypts_may_not_quote() {
    attributes(1 << 17, "has the attribute `decrypt`");
}

#[test]
fn a_public_area_is_read_to_its_end_and_no_further() {
    let public = Forge::new().public(ATTESTATION);
    assert!(AttestationKey::parse(&public).is_ok());
    for length in 0..public.len() {
        assert!(
            AttestationKey::parse(&public[..length]).is_err(),
            "{length} bytes"
        );
    }
    assert!(AttestationKey::parse(&[public, vec![0]].concat()).is_err());
}

/// How a clock stands to an earlier one.
fn clock(earlier: (u64, u32, u32), later: (u64, u32, u32), expected: Result<(), &str>) {
    let forge = Forge::new();
    let [earlier, later] = [earlier, later].map(|(milliseconds, resets, restarts)| {
        let says = Says {
            milliseconds,
            resets,
            restarts,
            ..Says::over(&pcrs())
        };
        verified(&forge, &says).unwrap().clock()
    });
    let found = later.follows(&earlier).map_err(|error| error.to_string());
    match expected {
        Ok(()) => assert_eq!(found, Ok(())),
        Err(expected) => assert!(found.unwrap_err().starts_with(expected)),
    }
}

#[test]
fn a_clock_goes_forward() {
    clock((1000, 3, 1), (1001, 3, 1), Ok(()));
}

#[test]
fn a_clock_goes_back_within_one_start_only_in_an_older_quote() {
    clock(
        (1000, 3, 1),
        (999, 3, 1),
        Err("the TPM's clock is 999 and was 1000"),
    );
}

#[test]
fn a_clock_may_lose_some_time_with_the_power() {
    clock((1000, 3, 1), (900, 4, 0), Ok(()));
}

#[test]
fn a_reset_counter_goes_back_when_the_tpm_is_cleared() {
    clock(
        (1000, 3, 1),
        (9000, 0, 0),
        Err("the TPM's reset counter is 0 and was 3"),
    );
}

#[test]
fn a_restart_counter_goes_back_only_in_an_older_quote() {
    clock(
        (1000, 3, 1),
        (9000, 3, 0),
        Err("the TPM's restart counter is 0 and was 1"),
    );
}
