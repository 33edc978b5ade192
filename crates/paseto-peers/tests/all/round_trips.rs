//! What one library makes, the other reads: random keys, payloads, footers and assertions, both ways.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use countersign_paseto_peers::{Countersign, Library, Payloads, Question, Refusal};
use proptest::prelude::*;

use crate::support::{Keys, data, others};

/// What goes into a token.
#[derive(Debug, Clone)]
struct Contents {
    payload: Vec<u8>,
    footer: Vec<u8>,
    assertion: Vec<u8>,
}

fn contents(payloads: Payloads) -> BoxedStrategy<Contents> {
    let bytes = || proptest::collection::vec(any::<u8>(), 1..200);
    let text = || "\\PC{1,60}|[a-z\u{0}\u{7f}\"\\\\]{1,60}".prop_map(String::into_bytes);
    let parts = match payloads {
        Payloads::Bytes => (bytes().boxed(), bytes().boxed(), bytes().boxed()),
        Payloads::Text => (text().boxed(), text().boxed(), text().boxed()),
        Payloads::Claims => (claims().boxed(), bytes().boxed(), bytes().boxed()),
    };
    (parts, any::<bool>(), any::<bool>())
        .prop_map(|((payload, footer, assertion), with, asserting)| Contents {
            payload,
            footer: if with { footer } else { Vec::new() },
            assertion: if asserting { assertion } else { Vec::new() },
        })
        .boxed()
}

/// As JSON that every library writes alike.
fn claims() -> impl Strategy<Value = Vec<u8>> {
    "\\PC{0,60}".prop_map(|text| {
        let claims = serde_json::json!({ "data": text, "exp": "2039-01-01T00:00:00Z" });
        claims.to_string().into_bytes()
    })
}

/// What each library turned out to do.
#[derive(Default)]
struct Met(RefCell<BTreeMap<&'static str, BTreeSet<String>>>);

impl Met {
    fn note(&self, library: &dyn Library, question: &Question) {
        let (version, kind) = question.about();
        let mut met = self.0.borrow_mut();
        let done = met.entry(library.name()).or_default();
        done.insert(format!("{version}.{kind}"));
    }

    /// Every library that was met did all of this, so that a test which asks nothing does not pass.
    fn check(self, expected: &[(&str, &str)]) {
        let met = self.0.into_inner();
        for (library, done) in &met {
            let (_, expected) = expected
                .iter()
                .find(|(name, _)| name == library)
                .expect(library);
            let done: Vec<&str> = done.iter().map(String::as_str).collect();
            assert_eq!(done.join(" "), *expected, "{library}");
        }
        let linked = expected
            .iter()
            .filter(|(name, _)| met.contains_key(name))
            .count();
        assert!(linked >= 2, "{met:?}");
    }
}

/// Asks `maker`, then `reader` about what came of it; `None` when either does nothing of the kind.
fn hand_over(
    maker: &dyn Library,
    made: &Question,
    reader: &dyn Library,
    read: impl Fn(String) -> Question,
) -> Option<Vec<u8>> {
    let text = supported(maker, made)?;
    let text = String::from_utf8(text).expect("tokens and keys are text");
    supported(reader, &read(text))
}

fn supported(library: &dyn Library, question: &Question) -> Option<Vec<u8>> {
    match library.ask(question) {
        Ok(answer) => Some(answer),
        Err(Refusal::Unsupported) => None,
        Err(Refusal::Refused(reason)) => panic!("{}: {reason}: {question:?}", library.name()),
    }
}

fn both_ways(
    theirs: &dyn Library,
    made: &Question,
    read: impl Fn(String) -> Question,
    expected: &[u8],
) -> bool {
    let there = hand_over(&Countersign, made, theirs, &read);
    let back = hand_over(theirs, made, &Countersign, &read);
    for (way, found) in [("ours", &there), ("theirs", &back)] {
        let same = found.as_deref().is_none_or(|found| found == expected);
        assert!(same, "{way}, {}: {made:?}", theirs.name());
    }
    there.is_some() && back.is_some()
}

fn tokens(theirs: &dyn Library, keys: &[Keys; 4], contents: &Contents, met: &Met) {
    let asserting = |version| match version {
        0 | 1 => Vec::new(),
        _ => contents.assertion.clone(),
    };
    for (version, keys) in keys.iter().enumerate() {
        for (minting, opening) in [(&keys.local, &keys.local), (&keys.secret, &keys.public)] {
            let made = Question::Mint {
                key: minting.clone(),
                payload: contents.payload.clone(),
                footer: contents.footer.clone(),
                assertion: asserting(version),
            };
            let read = |token| Question::Open {
                key: opening.clone(),
                token,
                footer: contents.footer.clone(),
                assertion: asserting(version),
            };
            if both_ways(theirs, &made, read, &contents.payload) {
                met.note(theirs, &made);
            }
        }
    }
}

#[test]
fn a_token_of_one_is_read_by_the_other() {
    let met = Met::default();
    for theirs in others() {
        proptest!(ProptestConfig::with_cases(16), |(seed in any::<[u8; 48]>(), contents in contents(theirs.payloads()))| {
            tokens(&*theirs, &Keys::of_all_versions(seed), &contents, &met);
        });
    }
    met.check(TOKENS);
}

#[test]
fn a_wrapped_key_of_one_is_read_by_the_other() {
    let met = Met::default();
    for theirs in others() {
        proptest!(ProptestConfig::with_cases(4), |(seed in any::<[u8; 48]>())| {
            Keys::of_all_versions(seed).iter().for_each(|keys| wrapped(&*theirs, keys, &met));
        });
    }
    met.check(WRAPPED);
}

fn wrapped(theirs: &dyn Library, keys: &Keys, met: &Met) {
    for key in [&keys.local, &keys.secret] {
        let with = || keys.local.clone();
        let made = Question::Wrap {
            key: key.clone(),
            with: with(),
        };
        let read = |paserk| Question::Unwrap {
            paserk,
            with: with(),
        };
        if both_ways(theirs, &made, read, &data(key)) {
            met.note(theirs, &made);
        }
    }
}

#[test]
fn a_sealed_key_of_one_is_opened_by_the_other() {
    let met = Met::default();
    for theirs in others() {
        proptest!(ProptestConfig::with_cases(4), |(seed in any::<[u8; 48]>())| {
            Keys::of_all_versions(seed).iter().for_each(|keys| sealed(&*theirs, keys, &met));
        });
    }
    met.check(SEALED);
}

fn sealed(theirs: &dyn Library, keys: &Keys, met: &Met) {
    let made = Question::Seal {
        key: keys.local.clone(),
        to: keys.public.clone(),
    };
    let read = |paserk| Question::Unseal {
        paserk,
        with: keys.secret.clone(),
    };
    if both_ways(theirs, &made, read, &data(&keys.local)) {
        met.note(theirs, &made);
    }
}

#[test]
fn a_key_under_a_password_of_one_is_read_by_the_other() {
    let met = Met::default();
    for theirs in others() {
        for keys in Keys::of_all_versions([7; 48]) {
            for key in [&keys.local, &keys.secret] {
                let password = || "correct horse".to_owned();
                let made = Question::Protect {
                    key: key.clone(),
                    password: password(),
                };
                let read = |paserk| Question::Unlock {
                    paserk,
                    password: password(),
                };
                if both_ways(&*theirs, &made, read, &data(key)) {
                    met.note(&*theirs, &made);
                }
            }
        }
    }
    met.check(WRAPPED);
}

#[test]
fn a_key_has_the_same_id_in_all() {
    let met = Met::default();
    for theirs in others() {
        for keys in Keys::of_all_versions([7; 48]) {
            for key in [keys.local, keys.secret, keys.public] {
                let question = Question::Identify { key };
                let Some(id) = supported(&*theirs, &question) else {
                    continue;
                };
                assert_eq!(supported(&Countersign, &question), Some(id), "{question:?}");
                met.note(&*theirs, &question);
            }
        }
    }
    met.check(IDS);
}

/// What each library mints and opens, by the key that mints.
const TOKENS: &[(&str, &str)] = &[
    (
        "pasetors",
        "k2.local k2.secret k3.secret k4.local k4.secret",
    ),
    (
        "paseto-rs",
        "k2.local k2.secret k3.local k3.secret k4.local k4.secret",
    ),
    ("paseto-rs on C", "k3.local k3.secret k4.local k4.secret"),
    (
        "rusty_paseto (v2)",
        "k1.local k2.local k2.secret k3.local k4.local",
    ),
    (
        "rusty_paseto (v3)",
        "k1.local k2.local k3.local k3.secret k4.local",
    ),
    (
        "rusty_paseto (v4)",
        "k1.local k2.local k3.local k4.local k4.secret",
    ),
    (
        "npm paseto",
        "k1.local k1.secret k2.secret k3.local k3.secret k4.secret",
    ),
    (
        "pyseto",
        "k1.local k1.secret k2.local k2.secret k3.local k3.secret k4.local k4.secret",
    ),
];

/// Which keys each library wraps, and all but rusty_paseto here under a password too.
const WRAPPED: &[(&str, &str)] = &[
    (
        "paseto-rs",
        "k2.local k2.secret k3.local k3.secret k4.local k4.secret",
    ),
    ("paseto-rs on C", "k3.local k3.secret k4.local k4.secret"),
    ("rusty_paseto (v4)", "k4.local"),
    ("npm paseto", "k1.local k1.secret k3.local k3.secret"),
    (
        "pyseto",
        "k1.local k1.secret k2.local k2.secret k3.local k3.secret k4.local k4.secret",
    ),
];

/// Which local keys each library seals; rusty_paseto needs the recipient's secret key.
const SEALED: &[(&str, &str)] = &[
    ("paseto-rs", "k2.local k3.local k4.local"),
    ("paseto-rs on C", "k3.local k4.local"),
    ("npm paseto", "k3.local"),
    ("pyseto", "k2.local k3.local k4.local"),
];

/// The ids of which keys each library knows.
const IDS: &[(&str, &str)] = &[
    (
        "pasetors",
        "k2.local k2.public k2.secret k3.public k3.secret k4.local k4.public k4.secret",
    ),
    (
        "paseto-rs",
        "k2.local k2.public k2.secret k3.local k3.public k3.secret k4.local k4.public k4.secret",
    ),
    (
        "paseto-rs on C",
        "k3.local k3.public k3.secret k4.local k4.public k4.secret",
    ),
    (
        "npm paseto",
        "k1.local k1.public k1.secret k3.local k3.public k3.secret",
    ),
    (
        "pyseto",
        "k1.local k1.public k1.secret k2.local k2.public k2.secret \
         k3.local k3.public k3.secret k4.local k4.public k4.secret",
    ),
];
