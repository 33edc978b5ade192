//! A software TPM, worked by `tpm2-tools`: what they make verifies here, and what is made here opens there.

use countersign_attest::Fact;
use countersign_attest::tpm::{
    AttestationKey, EndorsementKey, EndorsementKeyError, EventLog, HashAlgorithm, Name, PcrValues,
    Quote, Quoter, Selection, TpmRoots, TrustedEk, appraise,
};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

use crate::log::Log;
use crate::tools::Machine;

/// An endorsement key of `swtpm_setup`: its handle, the index of its certificate, and whether it is used by a policy alone.
const RSA: (&str, &str, bool) = ("0x81010001", "0x1c00002", true);
const P384: (&str, &str, bool) = ("0x81010016", "0x1c00016", false);
const RSA_3072: (&str, &str, bool) = ("0x8101001c", "0x1c0001c", false);

fn now() -> Timestamp {
    // swtpm makes certificates that begin today, whenever that is, and do not end.
    let files = std::time::UNIX_EPOCH.elapsed().unwrap();
    Timestamp::from_second(i64::try_from(files.as_secs()).unwrap() + 60).unwrap()
}

/// What a `TPM2B` holds.
fn inner(sized: &[u8]) -> &[u8] {
    &sized[2..]
}

fn endorsement_key(machine: &Machine, handle: &str) -> EndorsementKey {
    machine.tpm2(&format!("readpublic -c {handle} -o ek.pub"));
    EndorsementKey::parse(inner(&machine.file("ek.pub"))).unwrap()
}

fn certificates(machine: &Machine, index: &str) -> Vec<CertificateDer<'static>> {
    machine.tpm2(&format!("nvread {index} -o ek.der"));
    let [issuer, _] = machine.authorities();
    vec![machine.file("ek.der").into(), issuer]
}

fn roots(machine: &Machine) -> TpmRoots {
    let mut roots = TpmRoots::default();
    let [_, root] = machine.authorities();
    roots.add(&root).unwrap();
    roots
}

fn trusted(machine: &Machine, (handle, index, _): (&str, &str, bool)) -> TrustedEk {
    endorsement_key(machine, handle)
        .certified(&certificates(machine, index), &roots(machine), now())
        .unwrap()
}

#[test]
fn a_makers_certificate_makes_an_endorsement_key_trusted() {
    let Some(machine) = Machine::manufacture() else {
        return;
    };
    for kind in [RSA, P384] {
        let trusted = trusted(&machine, kind);
        assert_eq!(trusted.vendor(), Some("IBM's software TPM"));
        let listed = endorsement_key(&machine, kind.0).listed(|hash| hash == trusted.hash());
        assert_eq!(listed.unwrap().vendor(), None);
    }
}

#[test]
fn what_is_wrong_with_a_certificate_is_said() {
    let Some(machine) = Machine::manufacture() else {
        return;
    };
    let (ours, theirs) = (
        certificates(&machine, RSA.1),
        certificates(&machine, P384.1),
    );
    let check = |certificates: &[CertificateDer<'_>], roots: &TpmRoots, now, expected: &str| {
        let refused = endorsement_key(&machine, RSA.0).certified(certificates, roots, now);
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    };
    let root = roots(&machine);
    check(&[], &root, now(), "it has no certificate");
    check(&theirs, &root, now(), "its certificate is for another key");
    check(
        &ours,
        &TpmRoots::default(),
        now(),
        "no maker that is known here",
    );
    check(&ours[..1], &root, now(), "no maker that is known here");
    check(&ours, &root, Timestamp::UNIX_EPOCH, "is valid from");
    let mut altered = ours.clone();
    let mut bytes = altered[0].to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    altered[0] = bytes.into();
    check(&altered, &root, now(), "no maker that is known here");
    let many = vec![ours[1].clone(); 9];
    check(&many, &root, now(), "9 certificates, the limit is 8");
    let not_listed = endorsement_key(&machine, RSA.0).listed(|_| false);
    assert!(not_listed.is_err());
    let attestation =
        EndorsementKey::parse(inner(&attestation_key(&machine, "ecc", "sha256", "ecdsa")));
    let lacks = EndorsementKeyError::Lacks {
        attribute: "decrypt",
    };
    assert_eq!(attestation.unwrap_err(), lacks);
}

/// Makes `ak.ctx`, and gives its `TPM2B_PUBLIC`.
fn attestation_key(machine: &Machine, kind: &str, hash: &str, scheme: &str) -> Vec<u8> {
    machine.tpm2("createek -c ek.ctx -G rsa -u made.pub");
    machine.tpm2(&format!(
        "createak -C ek.ctx -c ak.ctx -G {kind} -g {hash} -s {scheme} -u ak.pub -n ak.name"
    ));
    machine.file("ak.pub")
}

#[test]
fn a_tpm_opens_a_credential_for_its_own_key() {
    let Some(machine) = Machine::manufacture() else {
        return;
    };
    let public = attestation_key(&machine, "ecc", "sha256", "ecdsa");
    let key = AttestationKey::parse(inner(&public)).unwrap();
    let name = key.name().unwrap();
    assert_eq!(name.as_bytes(), machine.file("ak.name"));
    for kind in [RSA, P384] {
        opens(&machine, &trusted(&machine, kind), name, kind);
    }
}

#[test]
fn a_tpm_opens_a_credential_for_its_rsa_3072_key() {
    let Some(machine) = Machine::manufacture_rsa_3072() else {
        return;
    };
    let public = attestation_key(&machine, "ecc384", "sha384", "ecdsa");
    let key = AttestationKey::parse(inner(&public)).unwrap();
    let trusted = trusted(&machine, RSA_3072);
    opens(&machine, &trusted, key.name().unwrap(), RSA_3072);
}

#[test]
fn a_tpm_opens_a_credential_for_its_p256_key() {
    let Some(machine) = Machine::manufacture() else {
        return;
    };
    let public = attestation_key(&machine, "ecc", "sha256", "ecdsa");
    let key = AttestationKey::parse(inner(&public)).unwrap();
    machine.tpm2("createek -c p256.ctx -G ecc -u made.pub");
    let endorsement = EndorsementKey::parse(inner(&machine.file("made.pub"))).unwrap();
    let listed = endorsement.listed(|_| true).unwrap();
    opens(
        &machine,
        &listed,
        key.name().unwrap(),
        ("p256.ctx", "", true),
    );
}

/// The TPM opens credentials of several lengths for `ak.ctx`.
fn opens(machine: &Machine, trusted: &TrustedEk, name: &Name, kind: (&str, &str, bool)) {
    for secret in [b"s".as_slice(), &[7; 16], &[9; 32]] {
        let credential = trusted.credential(name, secret).unwrap();
        let parts = [credential.id_object, credential.encrypted_secret];
        machine.write("credential", &credential_file(&parts));
        assert_eq!(activate(machine, kind), secret);
    }
}

/// A magic number, a version, and both parts behind their lengths: how `tpm2-tools` keep a credential.
fn credential_file(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut file = vec![0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1];
    parts
        .iter()
        .for_each(|part| file.extend(crate::forge::sized(part)));
    file
}

fn activate(machine: &Machine, (handle, _, by_policy): (&str, &str, bool)) -> Vec<u8> {
    let line = format!("activatecredential -c ak.ctx -C {handle} -i credential -o opened");
    if by_policy {
        machine.tpm2_keeping("startauthsession --policy-session -S session");
        machine.tpm2_keeping("policysecret -S session -c e");
        machine.tpm2(&format!("{line} -P session:session"));
        machine.tpm2("flushcontext session");
    } else {
        machine.tpm2(&line);
    }
    machine.file("opened")
}

#[test]
fn a_secret_longer_than_the_key_takes_is_refused() {
    let Some(machine) = Machine::manufacture() else {
        return;
    };
    let public = attestation_key(&machine, "ecc", "sha256", "ecdsa");
    let key = AttestationKey::parse(inner(&public)).unwrap();
    let refused = trusted(&machine, RSA).credential(key.name().unwrap(), &[0; 33]);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "the secret has 33 bytes, and this TPM takes 32"
    );
}

fn pcr_values(machine: &Machine, bank: HashAlgorithm, pcrs: &[u8]) -> PcrValues {
    let numbers: Vec<String> = pcrs.iter().map(u8::to_string).collect();
    let selection = format!("{bank}:{}", numbers.join(","));
    machine.tpm2(&format!("pcrread {selection} -o pcrs"));
    let file = machine.file("pcrs");
    let values = pcrs.iter().zip(file.chunks(file.len() / pcrs.len()));
    values.fold(PcrValues::new(), |values, (pcr, value)| {
        values.with(bank, *pcr, value)
    })
}

#[test]
fn quotes_of_each_kind_of_key_verify() {
    let Some(machine) = Machine::manufacture() else {
        return;
    };
    machine.tpm2(&format!(
        "pcrextend 7:sha256={},sha384={}",
        "ab".repeat(32),
        "cd".repeat(48)
    ));
    let kinds = [
        ("ecc", "sha256", "ecdsa"),
        ("ecc384", "sha384", "ecdsa"),
        ("rsa", "sha256", "rsassa"),
        ("rsa", "sha256", "rsapss"),
        ("rsa", "sha384", "rsassa"),
        ("rsa", "sha384", "rsapss"),
    ];
    for (kind, hash, scheme) in kinds {
        let key =
            AttestationKey::parse(inner(&attestation_key(&machine, kind, hash, scheme))).unwrap();
        for bank in [HashAlgorithm::Sha256, HashAlgorithm::Sha384] {
            machine.tpm2(&format!(
                "quote -c ak.ctx -l {bank}:0,7,23 -q c0ffee -m message -s signature -g {hash} --scheme {scheme}"
            ));
            let quote = Quote::parse(&machine.file("message"), &machine.file("signature")).unwrap();
            let asked = Selection::of(bank, [0, 7, 23]);
            let verified = quote.verify(
                &key,
                Some(&[0xc0, 0xff, 0xee]),
                Some(&asked),
                pcr_values(&machine, bank, &[0, 7, 23]),
            );
            assert!(
                verified.is_ok(),
                "{kind} {hash} {scheme} {bank}: {verified:?}"
            );
        }
    }
}

#[test]
fn a_boot_that_a_tpm_quotes_is_named_by_its_log() {
    let Some(machine) = Machine::manufacture() else {
        return;
    };
    let log = Log::of_a_linux_machine();
    for (pcr, digests) in log.extends() {
        machine.tpm2(&format!("pcrextend {pcr}:{digests}"));
    }
    machine.write("log", &log.bytes());
    let second_opinion = machine.tpm2("eventlog log");
    assert!(second_opinion.contains("EV_EFI_VARIABLE_DRIVER_CONFIG"));
    let key =
        AttestationKey::parse(inner(&attestation_key(&machine, "ecc", "sha256", "ecdsa"))).unwrap();
    machine.tpm2("quote -c ak.ctx -l sha384:0,4,7,8,9 -q 00 -m message -s signature -g sha256");
    let pcrs = pcr_values(&machine, HashAlgorithm::Sha384, &[0, 4, 7, 8, 9]);
    let quote = Quote::parse(&machine.file("message"), &machine.file("signature")).unwrap();
    let quote = quote.verify(&key, Some(&[0]), None, pcrs).unwrap();
    let log = EventLog::parse(&machine.file("log")).unwrap();
    let quoter = Quoter {
        subject: "edge-7",
        vendor: None,
    };
    let (appraisal, _) = appraise(quoter, &quote, Some(&log), now()).unwrap();
    assert_eq!(appraisal.facts()["secure_boot"], Fact::Flag(true));
    assert!(appraisal.facts().contains_key("kernel_command_line"));
}
