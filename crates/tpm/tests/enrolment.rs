//! A machine comes in and quotes: this client on a software TPM, and `countersign-attest` as the verifier at the other end.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on says where it stopped"
)]

use std::fs;
use std::process::Command;

use countersign_attest::tpm::{self as verifier, HashAlgorithm, Selection, TpmRoots};
use countersign_swtpm::{Swtpm, installed};
use countersign_tpm::{
    AttestationScheme, Credential, EndorsementKind, Hash, PcrSelection, Quote, Tpm,
};
use jiff::Timestamp;
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SignatureAlgorithm,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// The maker's certificates, beside those in the TPM.
struct Maker {
    intermediates: Vec<CertificateDer<'static>>,
    root: CertificateDer<'static>,
}

impl Maker {
    /// Whom `swtpm_setup` had sign.
    fn of(swtpm: &Swtpm) -> Self {
        let read = |path| CertificateDer::from_pem_file(path).unwrap();
        Self {
            intermediates: vec![read(swtpm.issuer())],
            root: read(swtpm.root()),
        }
    }
}

fn open(swtpm: &Swtpm) -> Tpm {
    Tpm::open(&swtpm.address().parse().unwrap()).unwrap()
}

fn now() -> Timestamp {
    // swtpm makes certificates that begin today, whenever that is, and do not end.
    let today = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    Timestamp::from_second(i64::try_from(today).unwrap() + 60).unwrap()
}

/// Lets a machine in by the certificate of its endorsement key, and takes a quote of it, with an attestation key of each scheme.
fn check(swtpm: &Swtpm, kind: EndorsementKind, maker: &Maker) {
    let mut tpm = open(swtpm);
    for scheme in SCHEMES {
        enrol_and_quote(&mut tpm, kind, scheme, maker);
        assert!(tpm.loaded_handles().unwrap().is_empty());
    }
}

fn enrol_and_quote(tpm: &mut Tpm, kind: EndorsementKind, scheme: AttestationScheme, maker: &Maker) {
    let key = tpm.create_attestation_key(scheme).unwrap();
    let known = verifier::AttestationKey::parse(key.public()).unwrap();
    let credential = trusted(tpm, kind, maker).credential(known.name().unwrap(), &[7; 32]);
    let credential = credential.unwrap();
    let credential = Credential {
        id_object: credential.id_object,
        encrypted_secret: credential.encrypted_secret,
    };
    let opened = tpm.activate_credential(&key, kind, &credential).unwrap();
    assert_eq!(opened.expose_secret(), [7; 32], "{kind:?} {scheme:?}");

    let quote = tpm.quote(&key, b"asked", &PcrSelection::new(Hash::Sha256, [0, 7]));
    verify(&quote.unwrap(), &known);
}

fn trusted(tpm: &mut Tpm, kind: EndorsementKind, maker: &Maker) -> verifier::TrustedEk {
    let certificates = tpm.endorsement_certificates().unwrap().into_iter();
    let own = certificates.filter(|one| one.kind == kind);
    let mut chain: Vec<CertificateDer<'_>> = own.map(|one| one.der.into()).collect();
    chain.extend(maker.intermediates.iter().cloned());
    let mut roots = TpmRoots::default();
    roots.add(&maker.root).unwrap();
    let public = tpm.endorsement_key(kind).unwrap().public;
    let key = verifier::EndorsementKey::parse(&public).unwrap();
    key.certified(&chain, &roots, now()).unwrap()
}

fn verify(quote: &Quote, key: &verifier::AttestationKey) {
    let values = quote.pcrs.0.iter();
    let values = values.fold(verifier::PcrValues::new(), |values, pcr| {
        values.with(HashAlgorithm::Sha256, pcr.index, &pcr.digest)
    });
    let asked = Selection::of(HashAlgorithm::Sha256, [0, 7]);
    let quote = verifier::Quote::parse(&quote.attest, &quote.signature).unwrap();
    let verified = quote.verify(key, Some(b"asked"), Some(&asked), values);
    assert!(verified.is_ok(), "{verified:?}");
}

#[test]
fn a_machine_comes_in_by_an_rsa_2048_key() {
    if let Some(swtpm) = Swtpm::manufacture().unwrap() {
        check(&swtpm, EndorsementKind::Rsa2048, &Maker::of(&swtpm));
    }
}

#[test]
fn a_machine_comes_in_by_an_rsa_3072_key() {
    if let Some(swtpm) = Swtpm::manufacture_rsa_3072().unwrap() {
        check(&swtpm, EndorsementKind::Rsa3072, &Maker::of(&swtpm));
    }
}

#[test]
fn a_machine_comes_in_by_a_p384_key() {
    if let Some(swtpm) = Swtpm::manufacture().unwrap() {
        check(&swtpm, EndorsementKind::EccP384, &Maker::of(&swtpm));
    }
}

/// `swtpm_setup` makes no certificates for P-256: an authority in this test does, as makers of hardware do.
#[test]
fn a_machine_comes_in_by_a_p256_key() {
    let Some(swtpm) = Swtpm::manufacture().unwrap() else {
        return;
    };
    if !installed("tpm2") {
        return;
    }
    let kind = EndorsementKind::EccP256;
    let public = open(&swtpm).endorsement_key(kind).unwrap().public;
    let (certificate, root) = certify(&P256::of(&public));
    fs::write(swtpm.folder().join("p256.der"), &certificate).unwrap();
    let index = format!("{:#x}", kind.certificate_index());
    let size = certificate.len().to_string();
    let attributes = "ppwrite|ppread|ownerread|authread|no_da|platformcreate";
    tpm2(
        &swtpm,
        &["nvdefine", &index, "-C", "p", "-s", &size, "-a", attributes],
    );
    tpm2(&swtpm, &["nvwrite", &index, "-C", "p", "-i", "p256.der"]);
    let intermediates = Vec::new();
    check(
        &swtpm,
        kind,
        &Maker {
            intermediates,
            root,
        },
    );
}

fn tpm2(swtpm: &Swtpm, arguments: &[&str]) {
    let mut command = Command::new("tpm2");
    command.env("TPM2TOOLS_TCTI", swtpm.tcti());
    let output = command.current_dir(swtpm.folder()).args(arguments).output();
    let output = output.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tpm2 {arguments:?}: {stderr}");
}

/// The point of a key on P-256, uncompressed.
struct P256(Vec<u8>);

impl P256 {
    /// A public area ends in both coordinates, each behind its length.
    fn of(public: &[u8]) -> Self {
        let coordinates = &public[public.len() - 68..];
        Self([&[4], &coordinates[2..34], &coordinates[36..]].concat())
    }
}

impl PublicKeyData for P256 {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// An endorsement certificate for a key, and the root that signed it.
fn certify(key: &P256) -> (CertificateDer<'static>, CertificateDer<'static>) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let own = KeyPair::generate().unwrap();
    let root = authority.self_signed(&own).unwrap();
    let mut leaf = CertificateParams::default();
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])];
    let signed = leaf.signed_by(key, &Issuer::new(authority, own)).unwrap();
    (signed.der().clone(), root.der().clone())
}

const SCHEMES: [AttestationScheme; 4] = [
    AttestationScheme::EcdsaP256,
    AttestationScheme::EcdsaP384,
    AttestationScheme::RsaSsa2048,
    AttestationScheme::RsaPss2048,
];
