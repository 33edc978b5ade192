//! AWS Nitro Enclaves: an attestation document of January 2025.

use coset::cbor::Value;
use coset::{CborSerializable as _, CoseSign1};
use countersign_attest::nitro::{Document, NitroError};
use countersign_attest::{
    Appraisal, ChainError, Fact, Freshness, RootKeys, Technology, WrongBinding,
};

use crate::support::{at, evidence, flipped};

const NOW: &str = "2025-01-06T16:10:00Z";

fn genuine() -> Option<Vec<u8>> {
    evidence("nitro.cose")
}

fn appraise(document: &[u8], now: &str) -> Result<Appraisal, NitroError> {
    Document::parse(document)?.appraise(&RootKeys::aws(), None, at(now))
}

/// The genuine document with its payload's fields changed, and with the signature as it was.
fn check(change: impl FnOnce(&mut Vec<(Value, Value)>), expected: NitroError) {
    let Some(document) = genuine() else {
        return;
    };
    let mut envelope = CoseSign1::from_slice(&document).unwrap();
    let payload = envelope.payload.take().unwrap();
    let fields: Value = coset::cbor::de::from_reader(&payload[..]).unwrap();
    let mut fields = fields.into_map().unwrap();
    change(&mut fields);
    let mut payload = Vec::new();
    coset::cbor::ser::into_writer(&Value::Map(fields), &mut payload).unwrap();
    envelope.payload = Some(payload);
    assert_eq!(appraise(&envelope.to_vec().unwrap(), NOW), Err(expected));
}

fn set(name: &str, value: Value) -> impl FnOnce(&mut Vec<(Value, Value)>) {
    move |fields| {
        let field = fields
            .iter_mut()
            .find(|(key, _)| key.as_text() == Some(name));
        field.unwrap().1 = value;
    }
}

#[test]
fn a_genuine_document_is_appraised() {
    let Some(document) = genuine() else {
        return;
    };
    let appraisal = appraise(&document, NOW).unwrap();
    assert_eq!(appraisal.technology(), Technology::Nitro);
    assert_eq!(appraisal.vendor(), Some("AWS"));
    assert_eq!(
        appraisal.subject(),
        "i-0bee92034f3d60691-enc01943c5eaab3ad6a"
    );
    assert_eq!(appraisal.freshness(), Freshness::Undated);
    assert_eq!(appraisal.measurements()[0].name, "pcr.sha384.0");
    assert_eq!(appraisal.facts()["debug"], Fact::Flag(false));
    assert_eq!(
        appraisal.facts()["timestamp"],
        Fact::Number(1_736_179_625_472)
    );
    assert!(appraisal.facts().contains_key("public_key"));
    assert!(!appraisal.facts().contains_key("nonce"));
}

#[test]
fn the_tag_may_be_there() {
    let Some(document) = genuine() else {
        return;
    };
    let tagged = [&[0xd2], &document[..]].concat();
    assert_eq!(appraise(&tagged, NOW), appraise(&document, NOW));
}

#[test]
fn a_document_without_the_nonce_is_refused() {
    let Some(document) = genuine() else {
        return;
    };
    let document = Document::parse(&document).unwrap();
    let refused = document.appraise(&RootKeys::aws(), Some(b"\x01"), at(NOW));
    let expected = WrongBinding {
        expected: "01".to_owned(),
        found: "nothing".to_owned(),
    };
    assert_eq!(refused, Err(expected.into()));
}

#[test]
fn every_byte_is_covered() {
    let Some(document) = genuine() else {
        return;
    };
    for place in 0..document.len() {
        let altered = appraise(&flipped(&document, place), NOW);
        assert!(altered.is_err(), "byte {place}");
    }
}

#[test]
fn every_length_but_one_is_refused() {
    let Some(document) = genuine() else {
        return;
    };
    for length in 0..document.len() {
        let cut = Document::parse(&document[..length]).map(drop);
        assert_eq!(cut, Err(NitroError::NotCose), "{length}");
    }
    let longer = [&document[..], &[0]].concat();
    assert_eq!(Document::parse(&longer).map(drop), Err(NitroError::NotCose));
}

#[test]
fn a_document_without_end_is_refused_before_it_is_read() {
    let expected = NitroError::TooLong {
        found: 1 << 20,
        limit: 16 * 1024,
    };
    let refused = Document::parse(&vec![0x81; 1 << 20]).map(drop);
    assert_eq!(refused, Err(expected));
}

/// Lists in lists, as deep as the length allows: a parser that follows them runs out of stack.
#[test]
fn depth_is_limited() {
    let refused = Document::parse(&[0x81; 16 * 1024]).map(drop);
    assert_eq!(refused, Err(NitroError::NotCose));
}

#[test]
fn lengths_beyond_the_end_are_refused() {
    for absurd in [
        &b"\x84\x44\xa1\x01\x38\x22\xa0\x5b\xff\xff\xff\xff\xff\xff\xff\xff"[..],
        b"\x84\x44\xa1\x01\x38\x22\xa0\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff",
    ] {
        assert_eq!(Document::parse(absurd).map(drop), Err(NitroError::NotCose));
    }
}

#[test]
fn another_encoding_of_the_envelope_is_refused() {
    let Some(document) = genuine() else {
        return;
    };
    // The same array, without saying how many items it has.
    let indefinite = [&[0x9f], &document[1..], &[0xff]].concat();
    assert_eq!(
        Document::parse(&indefinite).map(drop),
        Err(NitroError::NotCose)
    );
}

#[test]
fn altered_fields_do_not_authenticate() {
    check(set("timestamp", 1.into()), NitroError::NotAuthentic);
    check(
        set("user_data", Value::Bytes(vec![1])),
        NitroError::NotAuthentic,
    );
}

#[test]
fn fields_are_as_aws_says() {
    let wrong = |name, expected| NitroError::Field { name, expected };
    let pcrs = |entries: Vec<(u64, usize)>| {
        let entry = |(index, length): (u64, usize)| (index.into(), Value::Bytes(vec![0; length]));
        set("pcrs", Value::Map(entries.into_iter().map(entry).collect()))
    };
    let expected = || wrong("pcrs", "1 to 32 hashes of 48 bytes by their index");
    check(pcrs(vec![]), expected());
    check(pcrs(vec![(32, 48)]), expected());
    check(pcrs(vec![(0, 32)]), expected());
    check(pcrs(vec![(0, 48), (0, 48)]), expected());
    check(
        set("digest", Value::Text("SHA256".into())),
        wrong("digest", "SHA384"),
    );
    check(
        set("module_id", Value::Text("".into())),
        wrong("module_id", "a text of sensible length"),
    );
    check(
        set("nonce", Value::Bytes(vec![0; 513])),
        wrong("nonce", "bytes within the limit"),
    );
    check(
        set("cabundle", Value::Null),
        wrong("cabundle", "a list of certificates"),
    );
    check(|fields| drop(fields.remove(0)), wrong("module_id", "there"));
    let twice = |fields: &mut Vec<(Value, Value)>| fields.push(fields[0].clone());
    check(twice, wrong("payload", "a map of fields"));
}

#[test]
fn another_algorithm_is_refused() {
    let Some(mut document) = genuine() else {
        return;
    };
    // -7, ES256, in as many bytes.
    document[4..6].copy_from_slice(&[0x38, 0x06]);
    let refused = appraise(&document, NOW);
    // Not the shortest encoding of -7.
    assert_eq!(refused, Err(NitroError::Algorithm { found: Some(-7) }));
}

#[test]
fn a_document_is_good_for_three_hours() {
    let Some(document) = genuine() else {
        return;
    };
    let valid_until = appraise(&document, NOW).unwrap().valid_until().unwrap();
    let late = appraise(&document, "2025-01-07T16:10:00Z");
    assert!(matches!(
        late,
        Err(NitroError::Chain(ChainError::Expired { not_after, .. })) if not_after == valid_until
    ));
    let early = appraise(&document, "2024-01-06T16:10:00Z");
    assert!(matches!(
        early,
        Err(NitroError::Chain(ChainError::NotYetValid { .. }))
    ));
}

#[test]
fn a_root_of_another_maker_is_refused() {
    let Some(document) = genuine() else {
        return;
    };
    let document = Document::parse(&document).unwrap();
    let refused = document.appraise(&RootKeys::amd(), None, at(NOW));
    let found = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b".to_owned();
    assert_eq!(refused, Err(ChainError::UntrustedRoot { found }.into()));
}
