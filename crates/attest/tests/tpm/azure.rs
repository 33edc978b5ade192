//! The genuine quote, whole and altered.

use countersign_attest::tpm::{QuoteError, Quoter, appraise};
use countersign_attest::{Fact, Freshness};

use crate::azure_quote::Genuine;
use crate::tools::{read, vectors};

fn genuine() -> Option<Genuine> {
    let folder = vectors()?.join("evidence");
    let file = |name: &str| read(&folder.join(name));
    let (key, quote) = (file("azure_vtpm_akpub.pem"), file("azure_vtpm_quote.bin"));
    Some(Genuine::read(&key, &quote))
}

/// What the genuine quote comes to with a change, for a question.
fn check(
    change: impl FnOnce(&mut Genuine),
    question: &[u8],
    expected: Result<Freshness, QuoteError>,
) {
    let Some(mut genuine) = genuine() else {
        return;
    };
    change(&mut genuine);
    assert_eq!(appraised(&genuine, question), expected);
}

fn appraised(genuine: &Genuine, question: &[u8]) -> Result<Freshness, QuoteError> {
    let verified = genuine.verify(Some(question))?;
    let quoter = Quoter {
        subject: "azure",
        vendor: None,
    };
    let now = "2025-01-01T00:00:00Z".parse().unwrap();
    let (appraisal, _) = appraise(quoter, &verified, None, now).unwrap();
    assert_eq!(appraisal.measurements().len(), 24);
    let firmware = Fact::Text("0x2020031200120003".to_owned());
    assert_eq!(appraisal.facts()["tpm_firmware"], firmware);
    Ok(appraisal.freshness())
}

#[test]
fn a_genuine_quote_verifies() {
    check(|_| (), b"challenge", Ok(Freshness::Nonce));
}

#[test]
fn a_genuine_quote_answers_no_other_question() {
    check(|_| (), b"challengf", Err(QuoteError::AnotherQuestion));
}

#[test]
fn each_byte_of_a_genuine_quote_counts() {
    let Some(mut genuine) = genuine() else {
        return;
    };
    for at in 0..genuine.message.len() {
        genuine.message[at] ^= 1 << (at % 8);
        let verified = appraised(&genuine, b"challenge");
        assert!(verified.is_err(), "byte {at} of the message");
        genuine.message[at] ^= 1 << (at % 8);
    }
    for at in 0..genuine.signature.len() {
        genuine.signature[at] ^= 1 << (at % 8);
        let verified = appraised(&genuine, b"challenge");
        assert!(verified.is_err(), "byte {at} of the signature");
        genuine.signature[at] ^= 1 << (at % 8);
    }
}

#[test]
fn each_pcr_of_a_genuine_quote_counts() {
    for pcr in 0..24 {
        let change = |genuine: &mut Genuine| genuine.pcrs[pcr][31] ^= 1;
        check(change, b"challenge", Err(QuoteError::Values));
    }
}
