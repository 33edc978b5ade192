//! The whole round on a software TPM that has endorsement certificates, with tpm2-tools as the second opinion.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on says where it stopped"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use countersign_swtpm::{Swtpm, installed};
use countersign_tpm::{
    AttestationKey, AttestationScheme, Credential, EndorsementKind, Error, Hash, PcrSelection,
    Sealed, Secret, Tpm,
};

fn open(swtpm: &Swtpm) -> Tpm {
    Tpm::open(&swtpm.address().parse().unwrap()).unwrap()
}

/// A machine with a TPM of its own; nothing where there is no software TPM.
fn machine() -> Option<(Swtpm, Tpm)> {
    let swtpm = Swtpm::manufacture().unwrap()?;
    let tpm = open(&swtpm);
    Some((swtpm, tpm))
}

/// The same with a key that quotes.
fn quoting() -> Option<(Swtpm, Tpm, AttestationKey)> {
    let (swtpm, mut tpm) = machine()?;
    let key = tpm.create_attestation_key(AttestationScheme::default());
    Some((swtpm, tpm, key.unwrap()))
}

fn boot_pcrs() -> PcrSelection {
    PcrSelection::new(Hash::Sha256, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 16])
}

/// Runs a program of tpm2-tools; the TPM takes one connection at a time.
fn tpm2(swtpm: &Swtpm, arguments: &str) {
    let output = try_tpm2(swtpm, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tpm2 {arguments}: {stderr}");
}

fn try_tpm2(swtpm: &Swtpm, arguments: &str) -> Output {
    let mut command = Command::new("tpm2");
    command.env("TPM2TOOLS_TCTI", swtpm.tcti());
    command.current_dir(swtpm.folder());
    command.args(arguments.split(' ')).output().unwrap()
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    fs::write(folder.join(name), bytes).unwrap();
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes()[..], bytes].concat()
}

/// Switches it off without a warning and on again.
fn cut_power(swtpm: &mut Swtpm, tpm: Tpm) -> Tpm {
    drop(tpm);
    swtpm.cut_power().unwrap();
    swtpm.switch_on().unwrap();
    open(swtpm)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn both_endorsement_certificates_are_of_the_keys_that_the_templates_make() {
    let Some((_swtpm, mut tpm)) = machine() else {
        return;
    };
    let certificates = tpm.endorsement_certificates().unwrap();
    let kinds: Vec<_> = certificates.iter().map(|found| found.kind).collect();
    assert_eq!(kinds, [EndorsementKind::EccP384, EndorsementKind::Rsa2048]);
    for certificate in certificates {
        let key = tpm.endorsement_key(certificate.kind).unwrap();
        let unique = &key.public[key.public.len() - 48..];
        let holds = certificate.der.windows(48).any(|part| part == unique);
        assert!(holds, "{:?}", certificate.kind);
    }
}

#[test]
fn every_template_that_the_simulator_knows_makes_a_key() {
    let Some((_swtpm, mut tpm)) = machine() else {
        return;
    };
    for kind in EndorsementKind::ALL {
        // An RSA key of 4,096 bits is beyond libtpms.
        match tpm.endorsement_key(kind) {
            Err(Error::Refused { .. }) if kind == EndorsementKind::Rsa4096 => {}
            outcome => assert_eq!(outcome.unwrap().kind, kind),
        }
    }
    assert!(tpm.loaded_handles().unwrap().is_empty());
}

fn check_activation(scheme: AttestationScheme, kind: EndorsementKind) {
    let Some((swtpm, mut tpm)) = machine() else {
        return;
    };
    if !installed("tpm2") {
        return;
    }
    let key = tpm.create_attestation_key(scheme).unwrap();
    let endorsement = tpm.endorsement_key(kind).unwrap();
    drop(tpm);
    write(swtpm.folder(), "ek.pub", &sized(&endorsement.public));
    write(swtpm.folder(), "secret", b"a secret of the verifier's");
    let name = hex(&key.name());
    tpm2(
        &swtpm,
        &format!("makecredential -T none -u ek.pub -s secret -n {name} -o credential"),
    );
    let credential = fs::read(swtpm.folder().join("credential")).unwrap();
    let credential = parse_credential(&credential);
    let mut tpm = open(&swtpm);
    let secret = tpm.activate_credential(&key, kind, &credential).unwrap();
    assert_eq!(secret.expose_secret(), b"a secret of the verifier's");
    assert!(tpm.loaded_handles().unwrap().is_empty());

    let other = tpm.create_attestation_key(scheme).unwrap();
    let refused = tpm.activate_credential(&other, kind, &credential);
    assert!(
        matches!(refused, Err(Error::ForeignCredential)),
        "{refused:?}"
    );
    assert!(tpm.loaded_handles().unwrap().is_empty());
}

/// tpm2-tools writes a magic number and a version, then TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET.
fn parse_credential(bytes: &[u8]) -> Credential {
    let take = |bytes: &[u8]| {
        let (length, rest) = bytes.split_at(2);
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        (rest[..length].to_vec(), rest[length..].to_vec())
    };
    let (id_object, rest) = take(&bytes[8..]);
    let (encrypted_secret, rest) = take(&rest);
    assert!(rest.is_empty());
    Credential {
        id_object,
        encrypted_secret,
    }
}

#[test]
fn a_credential_for_the_p384_key_is_activated() {
    check_activation(AttestationScheme::EcdsaP256, EndorsementKind::EccP384);
}

#[test]
fn a_credential_for_the_rsa_key_is_activated() {
    check_activation(AttestationScheme::RsaPss2048, EndorsementKind::Rsa2048);
}

#[test]
fn a_credential_for_the_rsa_3072_key_is_activated() {
    check_activation(AttestationScheme::RsaSsa2048, EndorsementKind::Rsa3072);
}

#[test]
fn a_credential_for_the_p256_key_is_activated() {
    check_activation(AttestationScheme::EcdsaP384, EndorsementKind::EccP256);
}

/// Quotes with a key of this scheme, and runs what checks the files `attest`, `signature` and `ak.pub` of it.
fn check_quote(scheme: AttestationScheme, checks: &[&str]) {
    let Some((swtpm, mut tpm)) = machine() else {
        return;
    };
    if !installed("tpm2") {
        return;
    }
    let key = tpm.create_attestation_key(scheme).unwrap();
    tpm.extend_pcr(16, Hash::Sha256, &[7; 32]).unwrap();
    let quote = tpm.quote(&key, b"asked for just now", &boot_pcrs());
    let quote = quote.unwrap();
    assert!(tpm.loaded_handles().unwrap().is_empty());
    drop(tpm);
    let folder = swtpm.folder();
    write(folder, "ak.pub", &sized(key.public()));
    write(folder, "attest", &quote.attest);
    write(folder, "signature", &quote.signature);
    let asked = hex(b"asked for just now");
    for check in checks {
        tpm2(&swtpm, &check.replace("ASKED", &asked));
    }
}

#[test]
fn tpm2_tools_verify_our_quotes() {
    let check = "checkquote -u ak.pub -m attest -s signature -g sha256 -q ASKED";
    check_quote(AttestationScheme::EcdsaP256, &[check]);
}

#[test]
fn tpm2_tools_verify_our_quotes_on_p384() {
    let check = "checkquote -u ak.pub -m attest -s signature -g sha384 -q ASKED";
    check_quote(AttestationScheme::EcdsaP384, &[check]);
}

#[test]
fn tpm2_tools_verify_our_quotes_of_rsassa() {
    let check = "checkquote -u ak.pub -m attest -s signature -g sha256 -q ASKED";
    check_quote(AttestationScheme::RsaSsa2048, &[check]);
}

/// `tpm2_checkquote` 5.4 refuses every RSAPSS signature, those of `tpm2_quote` too (tpm2-tools#3283), so the TPM verifies it.
#[test]
fn a_tpm_verifies_our_quotes_of_rsapss() {
    let load = "loadexternal -C n -u ak.pub -c public";
    let check = "verifysignature -c public -g sha256 -m attest -s signature";
    check_quote(AttestationScheme::RsaPss2048, &[load, check]);
}

#[test]
fn a_changed_pcr_shows_in_the_next_quote() {
    let Some((_swtpm, mut tpm)) = machine() else {
        return;
    };
    let key = tpm
        .create_attestation_key(AttestationScheme::EcdsaP384)
        .unwrap();
    let selection = PcrSelection::new(Hash::Sha256, [16]).and(Hash::Sha1, [0, 23]);
    let before = tpm.quote(&key, b"", &selection).unwrap();
    tpm.extend_pcr(16, Hash::Sha256, &[1; 32]).unwrap();
    let after = tpm.quote(&key, b"", &selection).unwrap();
    assert_ne!(before.pcrs, after.pcrs);
    assert_ne!(before.attest, after.attest);
    assert!(before.clock.milliseconds <= after.clock.milliseconds);
    tpm.reset_pcr(16).unwrap();
    let reset = tpm.quote(&key, b"", &selection).unwrap();
    assert_eq!(before.pcrs, reset.pcrs);
}

#[test]
fn keys_and_secrets_outlive_unclean_power_offs_and_nothing_is_locked() {
    let Some((mut swtpm, mut tpm, key)) = quoting() else {
        return;
    };
    let sealed = tpm
        .seal(&Secret::new(vec![42; 32]), &PcrSelection::default())
        .unwrap();
    let (key, sealed) = (key.to_bytes(), sealed.to_bytes());
    for _ in 0..4 {
        let kept = AttestationKey::from_bytes(&key).unwrap();
        tpm.quote(&kept, b"", &boot_pcrs()).unwrap();
        let kept = Sealed::from_bytes(&sealed).unwrap();
        assert_eq!(tpm.unseal(&kept).unwrap().expose_secret(), [42; 32]);
        tpm.endorsement_certificates().unwrap();
        tpm = cut_power(&mut swtpm, tpm);
    }
    let lockout = tpm.lockout().unwrap();
    assert_eq!((lockout.is_locked, lockout.failed_tries), (false, 0));
}

#[test]
fn a_clean_reboot_counts_as_a_reset_of_the_clock() {
    let Some((mut swtpm, mut tpm)) = machine() else {
        return;
    };
    let before = tpm.time().unwrap();
    tpm.shut_down().unwrap();
    tpm = cut_power(&mut swtpm, tpm);
    let after = tpm.time().unwrap();
    assert_eq!(after.clock.resets, before.clock.resets + 1);
    assert!(after.clock.is_safe);
}

#[test]
fn a_secret_that_is_sealed_to_pcrs_stays_sealed_while_they_differ() {
    let Some((_swtpm, mut tpm)) = machine() else {
        return;
    };
    let selection = PcrSelection::new(Hash::Sha256, [7, 16]);
    let sealed = tpm.seal(&Secret::new(vec![9; 32]), &selection).unwrap();
    assert_eq!(tpm.unseal(&sealed).unwrap().expose_secret(), [9; 32]);
    tpm.extend_pcr(16, Hash::Sha256, &[1; 32]).unwrap();
    let refused = tpm.unseal(&sealed).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the secret is sealed to other values of sha256:7,16 than the machine has now"
    );
    tpm.reset_pcr(16).unwrap();
    assert_eq!(tpm.unseal(&sealed).unwrap().expose_secret(), [9; 32]);
    assert!(tpm.loaded_handles().unwrap().is_empty());
}

#[test]
fn what_another_tpm_made_is_called_foreign() {
    let (Some(swtpm), Some(another)) =
        (Swtpm::manufacture().unwrap(), Swtpm::manufacture().unwrap())
    else {
        return;
    };
    let key = open(&another)
        .create_attestation_key(AttestationScheme::default())
        .unwrap();
    let mut tpm = open(&swtpm);
    let refused = tpm.quote(&key, b"", &boot_pcrs()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "this attestation key was made by another TPM, or by this one before it was cleared"
    );
    assert!(tpm.loaded_handles().unwrap().is_empty());
}

#[test]
fn a_tpm_that_others_have_locked_still_quotes_and_unseals() {
    let Some((swtpm, mut tpm, key)) = quoting() else {
        return;
    };
    if !installed("tpm2") {
        return;
    }
    let sealed = tpm
        .seal(&Secret::new(vec![5; 32]), &PcrSelection::default())
        .unwrap();
    drop(tpm);
    tpm2(&swtpm, "dictionarylockout -s -n 1 -t 600 -l 600");
    tpm2(&swtpm, "createprimary -C o -p right -c parent");
    tpm2(&swtpm, "flushcontext -t");
    let refused = try_tpm2(&swtpm, "create -C parent -P wrong -u public -r private");
    assert!(!refused.status.success());
    let mut tpm = open(&swtpm);
    let lockout = tpm.capabilities().unwrap().lockout;
    assert!(lockout.is_locked);
    assert_eq!(
        lockout.to_string(),
        "1 of 1, and one is forgotten every 600 seconds"
    );
    tpm.quote(&key, b"", &boot_pcrs()).unwrap();
    assert_eq!(tpm.unseal(&sealed).unwrap().expose_secret(), [5; 32]);
}

#[test]
fn what_a_killed_program_left_open_is_closed() {
    let Some(swtpm) = Swtpm::manufacture().unwrap() else {
        return;
    };
    if !installed("tpm2") {
        return;
    }
    drop(open(&swtpm));
    for context in ["first", "second", "third"] {
        tpm2(&swtpm, &format!("createprimary -G ecc -c {context}"));
    }
    let mut tpm = open(&swtpm);
    assert_eq!(tpm.loaded_handles().unwrap(), []);
    tpm.create_attestation_key(AttestationScheme::default())
        .unwrap();
}

#[test]
fn a_tpm_that_is_not_there_is_named_with_what_to_do() {
    let refused = Tpm::open(&"/dev/no-such-tpm".parse().unwrap()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cannot open the TPM at `/dev/no-such-tpm`: No such file or directory (os error 2)"
    );
    assert_eq!(
        refused.remedy().unwrap(),
        "switch the TPM on in the firmware's settings, or name another device"
    );
}

#[test]
fn a_bank_that_is_not_there_is_named() {
    let Some((_swtpm, mut tpm, key)) = quoting() else {
        return;
    };
    let selection = PcrSelection::new(Hash::Sha512, [0]);
    let refused = tpm.quote(&key, b"", &selection).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the TPM has no PCR bank `sha512` with all the PCRs asked for"
    );
    assert!(tpm.loaded_handles().unwrap().is_empty());
}

#[test]
fn a_simulator_is_described() {
    let Some((_swtpm, mut tpm)) = machine() else {
        return;
    };
    let capabilities = tpm.capabilities().unwrap();
    assert_eq!(capabilities.manufacturer, "IBM");
    let banks: Vec<_> = capabilities
        .pcr_banks
        .iter()
        .map(|bank| bank.hash)
        .collect();
    assert_eq!(banks, [Hash::Sha1, Hash::Sha256, Hash::Sha384]);
    assert!(capabilities.algorithms.contains(&0x23));
    assert!(!capabilities.lockout.is_locked);
    assert_eq!(tpm.random(100).unwrap().expose_secret().len(), 100);
}

#[test]
fn fifty_rounds_leave_nothing_behind() {
    let Some((_swtpm, mut tpm)) = machine() else {
        return;
    };
    let selection = PcrSelection::new(Hash::Sha256, [16]);
    let key = tpm
        .create_attestation_key(AttestationScheme::default())
        .unwrap();
    let nonsense = Credential {
        id_object: vec![0; 50],
        encrypted_secret: vec![0; 50],
    };
    for _ in 0..50 {
        let sealed = tpm.seal(&Secret::new(vec![1; 32]), &selection).unwrap();
        tpm.unseal(&sealed).unwrap();
        tpm.quote(&key, b"", &selection).unwrap();
        tpm.activate_credential(&key, EndorsementKind::EccP384, &nonsense)
            .unwrap_err();
    }
    assert_eq!(tpm.loaded_handles().unwrap(), []);
}
