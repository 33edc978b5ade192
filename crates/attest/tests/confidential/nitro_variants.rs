//! Nitro as the genuine document at hand has it not: with a nonce, and in debug mode. The documents are signed here, by a chain of
//! four certificates below a root of the test.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use coset::cbor::Value;
use coset::iana::Algorithm;
use coset::{CborSerializable as _, CoseSign1Builder, HeaderBuilder};
use countersign_attest::nitro::{Document, NitroError};
use countersign_attest::{Appraisal, ChainError, Fact, Freshness, RootKeys};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P384_SHA384};

use crate::support::at;

/// rcgen's certificates are valid from 1975 to 4096.
const NOW: &str = "2026-01-01T00:00:00Z";

/// An enclave and who certified it, the root last.
struct Enclave {
    key: EcdsaKeyPair,
    chain: Vec<Vec<u8>>,
}

impl Enclave {
    /// Below so many issuers.
    fn certified(issuers: usize) -> Self {
        let new_key = || KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let parameters = |index: usize| {
            let mut parameters = CertificateParams::new([]).unwrap();
            let name = format!("test {index}");
            parameters
                .distinguished_name
                .push(rcgen::DnType::CommonName, name);
            if index < issuers {
                parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }
            parameters
        };
        let mut key = new_key();
        let mut chain = vec![parameters(0).self_signed(&key).unwrap().der().to_vec()];
        for index in 1..=issuers {
            let next = new_key();
            let issuer = Issuer::new(parameters(index - 1), key);
            let certificate = parameters(index).signed_by(&next, &issuer).unwrap();
            chain.insert(0, certificate.der().to_vec());
            key = next;
        }
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &key.serialize_der());
        Self {
            key: key.unwrap(),
            chain,
        }
    }

    fn roots(&self) -> RootKeys {
        let hash = digest(&SHA256, self.chain.last().unwrap());
        RootKeys::none().with("test", hash.as_ref().try_into().unwrap())
    }

    fn document(&self, pcr0: u8, nonce: Value) -> Vec<u8> {
        let issuers = self.chain[1..].iter().rev().cloned().map(Value::Bytes);
        let pcr = |index: u64, byte: u8| (index.into(), Value::Bytes(vec![byte; 48]));
        let fields = [
            ("module_id", Value::Text("i-1-enc2".into())),
            ("digest", Value::Text("SHA384".into())),
            ("timestamp", 1_767_225_600_000_u64.into()),
            ("pcrs", Value::Map(vec![pcr(0, pcr0), pcr(4, 9), pcr(7, 0)])),
            ("certificate", Value::Bytes(self.chain[0].clone())),
            ("cabundle", Value::Array(issuers.collect())),
            ("nonce", nonce),
        ];
        let fields = fields.map(|(name, value)| (Value::Text(name.into()), value));
        let mut payload = Vec::new();
        coset::cbor::ser::into_writer(&Value::Map(fields.into()), &mut payload).unwrap();
        let sign = |message: &[u8]| {
            let signature = self.key.sign(&SystemRandom::new(), message).unwrap();
            signature.as_ref().to_vec()
        };
        CoseSign1Builder::new()
            .protected(HeaderBuilder::new().algorithm(Algorithm::ES384).build())
            .payload(payload)
            .create_signature(b"", sign)
            .build()
            .to_vec()
            .unwrap()
    }

    fn appraise(&self, document: &[u8], nonce: Option<&[u8]>) -> Result<Appraisal, NitroError> {
        Document::parse(document)?.appraise(&self.roots(), nonce, at(NOW))
    }
}

#[test]
fn a_document_with_the_nonce_is_fresh() {
    let enclave = Enclave::certified(4);
    let document = enclave.document(8, Value::Bytes(b"asked".into()));
    let appraisal = enclave.appraise(&document, Some(b"asked")).unwrap();
    assert_eq!(appraisal.freshness(), Freshness::Nonce);
    assert_eq!(appraisal.vendor(), Some("test"));
    assert_eq!(appraisal.facts()["debug"], Fact::Flag(false));
    let names: Vec<_> = appraisal
        .measurements()
        .iter()
        .map(|one| &one.name)
        .collect();
    assert_eq!(names, ["pcr.sha384.0", "pcr.sha384.4"]);
    let undated = enclave.appraise(&document, None).unwrap();
    assert_eq!(undated.freshness(), Freshness::Undated);
    let refused = enclave.appraise(&document, Some(b"aske"));
    assert!(matches!(refused, Err(NitroError::Nonce(_))));
}

#[test]
fn an_enclave_in_debug_mode_is_appraised_and_says_so() {
    let enclave = Enclave::certified(1);
    let appraisal = enclave
        .appraise(&enclave.document(0, Value::Null), None)
        .unwrap();
    assert_eq!(appraisal.facts()["debug"], Fact::Flag(true));
}

#[test]
fn another_enclave_of_the_same_root_does_not_authenticate() {
    let (mut one, other) = (Enclave::certified(2), Enclave::certified(2));
    one.chain = other.chain;
    let document = one.document(8, Value::Null);
    assert_eq!(one.appraise(&document, None), Err(NitroError::NotAuthentic));
}

#[test]
fn a_chain_that_is_too_long_is_refused() {
    let enclave = Enclave::certified(6);
    let refused = enclave.appraise(&enclave.document(8, Value::Null), None);
    let expected = ChainError::Length {
        expected: "2 to 6",
        found: 7,
    };
    assert_eq!(refused, Err(expected.into()));
}

#[test]
fn a_chain_with_a_link_left_out_does_not_authenticate() {
    let mut enclave = Enclave::certified(3);
    enclave.chain.remove(1);
    let refused = enclave.appraise(&enclave.document(8, Value::Null), None);
    assert_eq!(refused, Err(ChainError::NotAuthentic.into()));
}
