//! Software evidence: made and read here.

use aws_lc_rs::signature::{KeyPair as _, ML_DSA_65_SIGNING, ML_DSA_87_SIGNING, PqdsaKeyPair};
use countersign_attest::software::{Claims, Document, SoftwareError};
use countersign_attest::{Appraisal, Fact, Freshness, Technology, WrongBinding};

use crate::support::{at, flipped};

const NOW: &str = "2026-01-01T00:00:00Z";

fn key() -> PqdsaKeyPair {
    PqdsaKeyPair::generate(&ML_DSA_65_SIGNING).unwrap()
}

/// The SubjectPublicKeyInfo.
fn public(key: &PqdsaKeyPair) -> Vec<u8> {
    use aws_lc_rs::encoding::AsDer as _;
    key.public_key().as_der().unwrap().as_ref().to_vec()
}

fn claims() -> Claims {
    Claims {
        binding: "07".repeat(64),
        hostname: "edge-7".to_owned(),
        operating_system: "Debian GNU/Linux 12".to_owned(),
        kernel: "6.1.0-26-amd64".to_owned(),
        architecture: "x86_64".to_owned(),
    }
}

fn document(key: &PqdsaKeyPair) -> String {
    let sign = |message: &[u8]| {
        let mut signature = vec![0; key.algorithm().signature_len()];
        key.sign(message, &mut signature).map(|_| signature)
    };
    Document::make(&claims(), sign).unwrap()
}

fn appraise(
    document: &[u8],
    key: &[u8],
    binding: Option<[u8; 64]>,
) -> Result<Appraisal, SoftwareError> {
    Document::parse(document)?.appraise(key, binding.as_ref(), at(NOW))
}

#[test]
fn a_document_is_called_software_and_vouches_for_nothing() {
    let key = key();
    let appraisal = appraise(document(&key).as_bytes(), &public(&key), Some([7; 64])).unwrap();
    assert_eq!(appraisal.technology(), Technology::Software);
    assert_eq!(appraisal.vendor(), None);
    assert_eq!(appraisal.freshness(), Freshness::Nonce);
    assert_eq!(appraisal.measurements(), []);
    assert_eq!(
        appraisal.facts()["software_hostname"],
        Fact::Text("edge-7".to_owned())
    );
    assert!(
        appraisal
            .facts()
            .keys()
            .all(|name| name.starts_with("software_"))
    );
    assert!(appraisal.unchecked()[0].0.starts_with("every claim"));
}

#[test]
fn either_parameter_set_signs() {
    let key = PqdsaKeyPair::generate(&ML_DSA_87_SIGNING).unwrap();
    let appraised = appraise(document(&key).as_bytes(), &public(&key), None);
    assert_eq!(appraised.unwrap().freshness(), Freshness::Undated);
}

#[test]
fn another_question_and_another_key_are_refused() {
    let key_pair = key();
    let document = document(&key_pair);
    let expected = WrongBinding {
        expected: "08".repeat(64),
        found: "07".repeat(64),
    };
    let refused = appraise(document.as_bytes(), &public(&key_pair), Some([8; 64]));
    assert_eq!(refused, Err(expected.into()));
    let refused = appraise(document.as_bytes(), &public(&key()), None);
    assert_eq!(refused, Err(SoftwareError::NotAuthentic));
    let refused = appraise(document.as_bytes(), b"no key", None);
    assert_eq!(refused, Err(SoftwareError::Key));
}

#[test]
fn every_byte_is_covered() {
    let key = key();
    let (document, public) = (document(&key), public(&key));
    for place in 0..document.len() {
        let altered = flipped(document.as_bytes(), place);
        assert!(appraise(&altered, &public, None).is_err(), "byte {place}");
    }
}

#[test]
fn another_shape_is_refused() {
    let document = document(&key());
    for shape in [
        String::new(),
        "[]".to_owned(),
        "{".repeat(10_000),
        document.replacen("software", "tpm2", 1),
        document.replacen('{', r#"{"more":1,"#, 1),
        document.replacen("hostname", "host", 1),
        document.clone() + "x",
        document[..document.len() - 1].to_owned(),
    ] {
        let refused = Document::parse(shape.as_bytes()).map(drop);
        assert_eq!(refused, Err(SoftwareError::Malformed), "{shape:.60}");
    }
    let refused = Document::parse(&vec![b'['; 1 << 20]).map(drop);
    let expected = SoftwareError::TooLong {
        found: 1 << 20,
        limit: 16 * 1024,
    };
    assert_eq!(refused, Err(expected));
}
