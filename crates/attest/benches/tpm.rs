//! Measures what a quote costs to appraise beside the bare signature checks in it, and prints Markdown.

#![expect(clippy::print_stdout, reason = "that is what it is for")]
#![expect(clippy::disallowed_methods, reason = "what is measured is time")]
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "it is made of the parts of the tests"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use countersign_attest::tpm::{
    AttestationKey, EndorsementKey, EventLog, Quote, Quoter, TpmRoots, appraise,
};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls_pki_types::CertificateDer;

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/tpm/forge.rs"]
mod forge;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/tpm/log.rs"]
mod log;

use forge::{ATTESTATION, Forge, QUESTION, Says, sized, values};
use log::Log;

fn main() {
    let machine = Machine::new();
    let bare = fastest(|| machine.bare());
    let report = |what: &str, signatures: u32, time: Duration| {
        let floor = bare * signatures;
        let ratio = time.as_secs_f64() / floor.as_secs_f64();
        println!(
            "| {what} | {:.1} | {:.1} | {ratio:.2} |",
            micros(time),
            micros(floor)
        );
    };
    println!("| what | µs | bare P-256 checks, µs | ratio |\n|---|--:|--:|--:|");
    report("quote", 1, fastest(|| machine.quote(None)));
    report(
        "quote with event log",
        1,
        fastest(|| machine.quote(Some(&machine.log))),
    );
    report(
        "certificate chain of the endorsement key",
        2,
        fastest(|| machine.chain()),
    );
    let all = || {
        machine.chain();
        machine.quote(Some(&machine.log));
    };
    report("quote with event log and chain", 3, fastest(all));
}

struct Machine {
    ak_public: Vec<u8>,
    attest: Vec<u8>,
    signature: Vec<u8>,
    pcrs: Vec<(u8, Vec<u8>)>,
    log: Vec<u8>,
    ek_public: Vec<u8>,
    certificates: Vec<CertificateDer<'static>>,
    roots: TpmRoots,
}

impl Machine {
    /// As many events as a Linux machine has, some 150; an EK certificate below an intermediate.
    fn new() -> Self {
        let forge = Forge::new();
        let mut log = Log::of_a_linux_machine();
        for n in 0..130 {
            log.event(8, log::EV_IPL, format!("grub_cmd: set line={n}").as_bytes());
        }
        let pcrs: Vec<_> = log.sha256(0).into_iter().collect();
        let (attest, signature) = forge.sign(&Says::over(&pcrs));
        let (ek_public, certificates, roots) = endorsement();
        Self {
            ak_public: forge.public(ATTESTATION),
            attest,
            signature,
            pcrs,
            log: log.bytes(),
            ek_public,
            certificates,
            roots,
        }
    }

    fn quote(&self, log: Option<&Vec<u8>>) {
        let key = AttestationKey::parse(&self.ak_public).expect("a key");
        let quote = Quote::parse(&self.attest, &self.signature).expect("a quote");
        let quote = quote
            .verify(&key, Some(QUESTION), None, values(&self.pcrs))
            .expect("it holds");
        let log = log.map(|log| EventLog::parse(log).expect("a log"));
        let quoter = Quoter {
            subject: "bench",
            vendor: None,
        };
        let now = jiff::Timestamp::UNIX_EPOCH;
        black_box(appraise(quoter, &quote, log.as_ref(), now)).expect("it replays");
    }

    fn chain(&self) {
        let key = EndorsementKey::parse(&self.ek_public).expect("a key");
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        black_box(key.certified(&self.certificates, &self.roots, now)).expect("a chain");
    }

    fn bare(&self) {
        let point = &self.ak_public[self.ak_public.len() - 68..];
        let point = [&[4][..], &point[2..34], &point[36..]].concat();
        let signature = [&self.signature[6..38], &self.signature[40..]].concat();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(&self.attest, &signature)
            .expect("it holds");
    }
}

/// An endorsement key with its certificate, the intermediate, and the root.
fn endorsement() -> (Vec<u8>, Vec<CertificateDer<'static>>, TpmRoots) {
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params, KeyPair::generate().expect("randomness"))
    };
    let (root, root_key) = authority("root");
    let anchor = root.self_signed(&root_key).expect("a root");
    let root = Issuer::new(root, root_key);
    let (middle, middle_key) = authority("intermediate");
    let intermediate = middle
        .signed_by(&middle_key, &root)
        .expect("an intermediate");
    let middle = Issuer::new(middle, middle_key);
    let mut leaf = CertificateParams::default();
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])];
    let key = KeyPair::generate().expect("randomness");
    let certificate = leaf.signed_by(&key, &middle).expect("a leaf");
    let (x, y) = key.public_key_raw()[1..].split_at(32);
    // ECC, SHA-256, the attributes of the default template, no policy; AES-128 in CFB mode, no scheme, P-256, no key derivation.
    let mut public = vec![0x00, 0x23, 0x00, 0x0b, 0x00, 0x03, 0x00, 0xb2, 0, 0];
    public.extend([
        0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10, 0x00, 0x03, 0x00, 0x10,
    ]);
    public.extend([sized(x), sized(y)].concat());
    let mut roots = TpmRoots::default();
    roots.add(anchor.der()).expect("a root");
    let chain = vec![certificate.der().clone(), intermediate.der().clone()];
    (public, chain, roots)
}

/// The fastest of many rounds: what else the machine does only makes a round slower.
fn fastest(mut work: impl FnMut()) -> Duration {
    let round = |_| {
        let start = Instant::now();
        (0..50).for_each(|_| work());
        start.elapsed() / 50
    };
    (0..40).map(round).min().unwrap_or_default()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
