//! Event logs: what they name of a boot, and what they are refused for.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA384, digest};
use countersign_attest::Fact;
use countersign_attest::tpm::{
    Comparison, EventLog, HashAlgorithm, MachineState, Quoter, appraise,
};

use crate::forge::{Forge, QUESTION, Says, values};
use crate::log::{
    EV_ACTION, EV_APPLICATION, EV_IPL, EV_NO_ACTION, EV_SEPARATOR, EV_VARIABLE, Entry, Log, header,
    variable,
};

type Facts = BTreeMap<&'static str, Fact>;

/// What a machine with these PCRs, the lowest first, comes to with this log.
fn shown(pcrs: &[(u8, Vec<u8>)], log: &[u8]) -> Result<(Facts, MachineState), String> {
    let forge = Forge::new();
    let quote = forge.quote(&Says::over(pcrs));
    let quote = quote
        .verify(&forge.key(), Some(QUESTION), None, values(pcrs))
        .unwrap();
    let log = EventLog::parse(log).map_err(|error| error.to_string())?;
    let quoter = Quoter {
        subject: "edge-7",
        vendor: None,
    };
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let (appraisal, state) =
        appraise(quoter, &quote, Some(&log), now).map_err(|error| error.to_string())?;
    Ok((appraisal.facts().clone(), state))
}

fn pcrs(log: &Log, locality: u8) -> Vec<(u8, Vec<u8>)> {
    log.sha256(locality).into_iter().collect()
}

/// The facts of a log that is true.
fn facts(log: &Log) -> Facts {
    shown(&pcrs(log, 0), &log.bytes()).unwrap().0
}

/// The facts that a machine with the PCRs of `truth` gets by telling another story.
fn told(truth: &Log, story: &Log) -> Facts {
    shown(&pcrs(truth, 0), &story.bytes()).unwrap().0
}

fn refused(pcrs: &[(u8, Vec<u8>)], log: &[u8], expected: &str) {
    let refused = shown(pcrs, log).map(|(facts, _)| facts).unwrap_err();
    assert!(refused.contains(expected), "{refused}");
}

#[test]
fn a_linux_machine_is_named() {
    let facts = facts(&Log::of_a_linux_machine());
    assert_eq!(facts["secure_boot"], Fact::Flag(true));
    for name in [
        "secure_boot_pk",
        "secure_boot_kek",
        "secure_boot_db",
        "secure_boot_dbx",
    ] {
        assert!(
            matches!(&facts[name], Fact::Text(hash) if hash.len() == 64),
            "{name}"
        );
    }
    assert_eq!(
        facts["kernel_command_line"],
        Fact::Text("/vmlinuz-6.1 ro".to_owned())
    );
    assert!(matches!(&facts["boot_loaders"], Fact::List(two) if two.len() == 2));
    assert!(matches!(&facts["kernels"], Fact::List(one) if one.len() == 1));
}

#[test]
fn pcr_0_starts_with_the_locality_that_the_log_says() {
    let mut log = Log::default();
    let locality = [b"StartupLocality\0".as_slice(), &[3]].concat();
    log.push(Entry {
        sha256: vec![0; 32],
        sha384: vec![0; 48],
        ..Entry::new(0, EV_NO_ACTION, b"", &locality)
    });
    log.event(0, EV_ACTION, b"firmware");
    assert!(shown(&pcrs(&log, 3), &log.bytes()).is_ok());
    refused(
        &pcrs(&log, 0),
        &log.bytes(),
        "does not replay: PCR 0 of sha256 is ",
    );
}

#[test]
fn an_event_too_few_does_not_replay() {
    let log = Log::of_a_linux_machine();
    let mut story = log.clone();
    story.0.retain(|entry| entry.pcr != 8);
    refused(
        &pcrs(&log, 0),
        &story.bytes(),
        "does not replay: PCR 8 of sha256 is ",
    );
}

#[test]
fn an_event_that_changed_does_not_replay() {
    let log = Log::of_a_linux_machine();
    for n in 0..log.0.len() {
        let mut story = log.clone();
        story.0[n].sha256[0] ^= 1;
        refused(&pcrs(&log, 0), &story.bytes(), "does not replay");
    }
}

#[test]
fn a_log_is_read_to_its_end_and_no_further() {
    let mut log = Log::default();
    log.event(7, EV_VARIABLE, &variable("SecureBoot", &[1]));
    let bytes = log.bytes();
    for length in (0..bytes.len()).filter(|length| *length != header().len()) {
        assert!(EventLog::parse(&bytes[..length]).is_err(), "{length} bytes");
    }
    assert!(EventLog::parse(&[bytes, vec![0]].concat()).is_err());
}

#[test]
fn a_log_of_100_mib_is_refused_by_its_size() {
    let refused = EventLog::parse(&vec![0; 100 << 20]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the event log has 104857600 bytes, the limit is 1048576"
    );
}

#[test]
fn a_log_of_a_hundred_thousand_events_is_refused_by_their_number() {
    let entry = Entry::new(0, EV_ACTION, b"", b"");
    let log = Log(vec![entry; 5000]);
    assert_eq!(
        EventLog::parse(&log.bytes()).unwrap_err().to_string(),
        "the event log has more than 4096 events"
    );
}

#[test]
fn absurd_lengths_are_refused_without_memory_for_them() {
    let mut log = Log::default();
    log.event(7, EV_VARIABLE, b"");
    let mut bytes = log.bytes();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&[0xff; 4]);
    assert!(EventLog::parse(&bytes).is_err());
    let mut bytes = header();
    bytes[28..32].copy_from_slice(&[0xff; 4]);
    assert!(EventLog::parse(&bytes).is_err());
}

/// A machine without Secure Boot, whose administrator measures what they like after the boot.
fn without_secure_boot() -> Log {
    let mut log = Log::of_a_linux_machine();
    log.0[1] = Entry::new(
        7,
        EV_VARIABLE,
        &variable("SecureBoot", &[0]),
        &variable("SecureBoot", &[0]),
    );
    log.event(7, EV_VARIABLE, &variable("SecureBoot", &[1]));
    log
}

#[test]
fn what_the_firmware_said_first_counts() {
    assert_eq!(
        facts(&without_secure_boot())["secure_boot"],
        Fact::Flag(false)
    );
}

#[test]
fn secure_boot_is_not_forged_by_calling_the_firmwares_word_something_else() {
    let truth = without_secure_boot();
    let mut story = truth.clone();
    story.0[1].kind = EV_ACTION;
    assert_ne!(
        told(&truth, &story).get("secure_boot"),
        Some(&Fact::Flag(true))
    );
    story.0[1].data = b"nothing".to_vec();
    assert_ne!(
        told(&truth, &story).get("secure_boot"),
        Some(&Fact::Flag(true))
    );
}

#[test]
fn a_command_line_is_not_forged_by_hiding_the_true_one() {
    let mut truth = Log::default();
    truth.push(Entry::new(8, EV_IPL, b"evil", b"kernel_cmdline: evil\0"));
    truth.push(Entry::new(8, EV_IPL, b"good", b"kernel_cmdline: good\0"));
    let mut story = truth.clone();
    story.0[0].data = b"nothing".to_vec();
    assert_ne!(
        told(&truth, &story).get("kernel_command_line"),
        Some(&Fact::Text("good".to_owned()))
    );
}

#[test]
fn a_boot_loader_is_not_hidden_by_calling_it_something_else() {
    let mut truth = Log::default();
    truth.push(Entry::new(4, EV_APPLICATION, b"evil", b"\\EFI\\evil.efi"));
    let mut story = truth.clone();
    story.0[0].kind = EV_ACTION;
    assert!(told(&truth, &story).contains_key("boot_loaders"));
}

#[test]
fn a_digest_of_a_bank_that_is_not_quoted_vouches_for_nothing() {
    let (off, on) = (variable("SecureBoot", &[0]), variable("SecureBoot", &[1]));
    let mut story = Log::default();
    // The digest that is quoted is of the truth, the other of what stands beside it.
    story.push(Entry {
        sha384: Entry::new(7, EV_VARIABLE, &off, &off).sha384,
        ..Entry::new(7, EV_VARIABLE, &on, &on)
    });
    story.event(7, EV_SEPARATOR, &[0; 4]);
    let pcr_7 = story.0.iter().fold(vec![0; 48], |value: Vec<u8>, entry| {
        digest(&SHA384, &[value, entry.sha384.clone()].concat())
            .as_ref()
            .to_vec()
    });
    let pcr_0 = vec![(0, vec![0; 32])];
    let says = Says {
        sha384: Some((7, pcr_7.clone())),
        ..Says::over(&pcr_0)
    };
    let forge = Forge::new();
    let pcrs = values(&pcr_0).with(HashAlgorithm::Sha384, 7, &pcr_7);
    let quote = forge
        .quote(&says)
        .verify(&forge.key(), None, None, pcrs)
        .unwrap();
    let log = EventLog::parse(&story.bytes()).unwrap();
    let quoter = Quoter {
        subject: "edge-7",
        vendor: None,
    };
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let (appraisal, _) = appraise(quoter, &quote, Some(&log), now).unwrap();
    assert_eq!(appraisal.facts().get("secure_boot"), None);
}

/// What is said of a machine that showed `before` and shows `now`.
fn compared(before: &Log, now: &Log) -> Comparison {
    let state = |log: &Log| shown(&pcrs(log, 0), &log.bytes()).unwrap().1;
    let written = serde_json::to_string(&state(before)).unwrap();
    let reference: MachineState = serde_json::from_str(&written).unwrap();
    reference.compare(&state(now))
}

#[test]
fn a_machine_is_as_it_was() {
    let log = Log::of_a_linux_machine();
    assert_eq!(compared(&log, &log), Comparison::Same);
}

#[test]
fn an_updated_kernel_is_told_in_words() {
    let before = Log::of_a_linux_machine();
    let mut now = before.clone();
    let kernel = now
        .0
        .iter_mut()
        .find(|entry| entry.data == b"/vmlinuz-6.1\0")
        .unwrap();
    *kernel = Entry::new(9, EV_IPL, b"newer kernel", b"/vmlinuz-6.1\0");
    let Comparison::Different(changes) = compared(&before, &now) else {
        panic!("it is another kernel")
    };
    assert!(changes[0].starts_with("PCR sha256:9 is "), "{changes:?}");
    assert!(
        changes[1].starts_with("PCR 9, boot loader's measurement `/vmlinuz-6.1`: is "),
        "{changes:?}"
    );
    assert_eq!(changes.len(), 2);
}
