//! What crosses the bus, and what a TPM or somebody on the bus may answer.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on says where it stopped"
)]

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign_swtpm::Swtpm;
use countersign_tpm::{
    AttestationKey, AttestationScheme, Credential, EndorsementKind, Error, Hash, PcrSelection,
    Sealed, Secret, Simulator, Tpm, Transport,
};

/// One command and its response.
type Exchange = (Vec<u8>, Vec<u8>);
/// What passes by.
type Log = Arc<Mutex<Vec<Exchange>>>;

/// Stands between client and TPM: notes what passes, and may answer in the TPM's place or change what it says.
struct Interposer<F> {
    tpm: Simulator<UnixStream>,
    log: Log,
    meddle: F,
}

/// What an interposer does with a command.
enum Meddling {
    Pass,
    Answer(Vec<u8>),
    Change(fn(&mut Vec<u8>)),
}

impl<F: FnMut(&[u8]) -> Meddling> Transport for Interposer<F> {
    fn transmit(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        let response = match (self.meddle)(command) {
            Meddling::Pass => self.tpm.transmit(command)?,
            Meddling::Answer(response) => response,
            Meddling::Change(change) => {
                let mut response = self.tpm.transmit(command)?;
                change(&mut response);
                response
            }
        };
        let exchange = (command.to_vec(), response.clone());
        self.log.lock().unwrap().push(exchange);
        Ok(response)
    }

    fn pause(&mut self, _duration: Duration) {}
}

fn through(swtpm: &Swtpm, meddle: impl FnMut(&[u8]) -> Meddling + Send + 'static) -> (Tpm, Log) {
    let address = swtpm.address();
    let path = address.strip_prefix("swtpm:unix:").unwrap();
    let log = Log::default();
    let interposer = Interposer {
        tpm: Simulator::unix(Path::new(path)).unwrap(),
        log: log.clone(),
        meddle,
    };
    let mut tpm = Tpm::over(Box::new(interposer));
    tpm.start().unwrap();
    (tpm, log)
}

fn is(command: &[u8], code: u32) -> bool {
    command[6..10] == code.to_be_bytes()
}

fn refusal(code: u32) -> Vec<u8> {
    [&[0x80, 0x01, 0, 0, 0, 10][..], &code.to_be_bytes()].concat()
}

fn selection() -> PcrSelection {
    PcrSelection::new(Hash::Sha256, [0, 16])
}

#[test]
fn a_sealed_secret_never_crosses_the_bus_readable() {
    let Some(swtpm) = Swtpm::manufacture().unwrap() else {
        return;
    };
    let (mut tpm, log) = through(&swtpm, |_| Meddling::Pass);
    let secret = *b"thirty-two bytes of a secret key";
    for selection in [PcrSelection::default(), selection()] {
        let sealed = tpm.seal(&Secret::new(secret.to_vec()), &selection).unwrap();
        let unsealed = tpm.unseal(&sealed).unwrap();
        assert_eq!(unsealed.expose_secret(), secret);
    }
    for (command, response) in log.lock().unwrap().iter() {
        for bytes in [command, response] {
            assert!(
                !bytes
                    .windows(8)
                    .any(|part| secret.windows(8).any(|eight| eight == part))
            );
        }
    }
}

#[test]
fn a_response_that_was_altered_on_the_bus_is_refused() {
    let Some(swtpm) = Swtpm::manufacture().unwrap() else {
        return;
    };
    let (mut tpm, _) = through(&swtpm, |command| match is(command, UNSEAL) {
        true => Meddling::Change(|response| response[20] ^= 1),
        false => Meddling::Pass,
    });
    let sealed = tpm
        .seal(&Secret::new(vec![1; 32]), &PcrSelection::default())
        .unwrap();
    let refused = tpm.unseal(&sealed).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the response to TPM2_Unseal was altered on its way from the TPM"
    );
}

fn check_busy(code: u32, times: u32, expected: Result<(), &str>) {
    let Some(swtpm) = Swtpm::manufacture().unwrap() else {
        return;
    };
    let mut left = times;
    let (mut tpm, _) = through(&swtpm, move |command| {
        match is(command, QUOTE) && left > 0 {
            true => {
                left -= 1;
                Meddling::Answer(refusal(code))
            }
            false => Meddling::Pass,
        }
    });
    let key = tpm
        .create_attestation_key(AttestationScheme::default())
        .unwrap();
    let outcome = tpm.quote(&key, b"", &selection()).map(drop);
    let outcome = outcome.map_err(|error| error.to_string());
    match (outcome, expected) {
        (Ok(()), Ok(())) => {}
        (Err(found), Err(expected)) => assert_eq!(found, expected),
        (found, expected) => assert_eq!(found.err().as_deref(), expected.err()),
    }
    assert!(tpm.loaded_handles().unwrap().is_empty());
}

#[test]
fn a_tpm_that_says_retry_is_asked_again() {
    check_busy(0x922, 20, Ok(()));
}

#[test]
fn a_tpm_that_tests_itself_is_asked_again() {
    check_busy(0x90a, 20, Ok(()));
}

#[test]
fn a_tpm_that_yielded_is_asked_again() {
    check_busy(0x908, 1, Ok(()));
}

#[test]
fn a_tpm_that_must_test_itself_first_does_so() {
    check_busy(0x153, 1, Ok(()));
}

#[test]
fn a_tpm_that_is_busy_for_ever_is_left() {
    check_busy(
        0x922,
        u32::MAX,
        Err(
            "the TPM was too busy for TPM2_Quote 32 times in 12.635s: it could not start the command (TPM_RC_RETRY)",
        ),
    );
}

#[test]
fn a_locked_tpm_says_so_and_how_it_ends() {
    let Some(swtpm) = Swtpm::manufacture().unwrap() else {
        return;
    };
    let (mut tpm, _) = through(&swtpm, |command| match is(command, QUOTE) {
        true => Meddling::Answer(refusal(0x921)),
        false => Meddling::Pass,
    });
    let key = tpm
        .create_attestation_key(AttestationScheme::default())
        .unwrap();
    let refused = tpm.quote(&key, b"", &selection()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the TPM refused TPM2_Quote: it is locked after too many failed tries, 0 of 3, and one is forgotten every 1000 seconds"
    );
    assert_eq!(
        refused.remedy().unwrap(),
        "wait 1000 seconds with the machine on; `tpm2_dictionarylockout --clear-lockout` ends it now"
    );
    assert!(tpm.loaded_handles().unwrap().is_empty());
}

/// Gives recorded responses, one for each command, then none.
struct Replay(VecDeque<Vec<u8>>);

impl Transport for Replay {
    fn transmit(&mut self, _command: &[u8]) -> io::Result<Vec<u8>> {
        self.0
            .pop_front()
            .ok_or(io::ErrorKind::UnexpectedEof.into())
    }

    fn pause(&mut self, _duration: Duration) {}
}

/// Everything that is asked of a TPM, each with what it needs from before.
type Question = fn(&mut Tpm, &Kept) -> Result<(), Error>;

struct Kept {
    key: AttestationKey,
    sealed: Sealed,
    credential: Credential,
}

impl Kept {
    fn make(tpm: &mut Tpm) -> Self {
        Self {
            key: tpm
                .create_attestation_key(AttestationScheme::default())
                .unwrap(),
            sealed: tpm.seal(&Secret::new(vec![3; 32]), &selection()).unwrap(),
            credential: Credential {
                id_object: vec![0; 52],
                encrypted_secret: vec![0; 52],
            },
        }
    }
}

const QUESTIONS: [Question; 10] = [
    |tpm, _| tpm.capabilities().map(drop),
    |tpm, _| tpm.endorsement_certificates().map(drop),
    |tpm, _| tpm.endorsement_key(EndorsementKind::EccP384).map(drop),
    |tpm, _| tpm.endorsement_key(EndorsementKind::EccP256).map(drop),
    |tpm, _| {
        tpm.create_attestation_key(AttestationScheme::EcdsaP384)
            .map(drop)
    },
    |tpm, kept| tpm.quote(&kept.key, b"asked", &selection()).map(drop),
    |tpm, _| tpm.time().map(drop),
    |tpm, kept| tpm.unseal(&kept.sealed).map(drop),
    |tpm, _| tpm.seal(&Secret::new(vec![3; 32]), &selection()).map(drop),
    |tpm, kept| {
        tpm.activate_credential(&kept.key, EndorsementKind::EccP384, &kept.credential)
            .map(drop)
    },
];

/// Asks every question of a TPM that answers as before up to the last response, which `spoil` has made others of.
fn each_spoiled(spoil: fn(&[u8]) -> Vec<Vec<u8>>, check: fn(Result<(), Error>)) {
    let Some(swtpm) = Swtpm::manufacture().unwrap() else {
        return;
    };
    let (mut tpm, log) = through(&swtpm, |_| Meddling::Pass);
    let kept = Kept::make(&mut tpm);
    for question in QUESTIONS {
        log.lock().unwrap().clear();
        let _ = question(&mut tpm, &kept);
        let said: Vec<Vec<u8>> = log
            .lock()
            .unwrap()
            .iter()
            .map(|(_, said)| said.clone())
            .collect();
        for (number, response) in said.iter().enumerate() {
            for spoiled in spoil(response) {
                let mut replay: VecDeque<_> = said[..number].iter().cloned().collect();
                replay.push_back(spoiled);
                check(question(&mut Tpm::over(Box::new(Replay(replay))), &kept));
            }
        }
    }
}

#[test]
fn a_response_that_is_cut_short_anywhere_is_an_error() {
    let cut = |response: &[u8]| {
        (0..response.len())
            .map(|end| response[..end].to_vec())
            .collect()
    };
    each_spoiled(cut, |outcome| assert!(outcome.is_err()));
}

#[test]
fn a_response_that_goes_on_is_an_error() {
    let longer = |response: &[u8]| vec![[response, &[0]].concat()];
    each_spoiled(longer, |outcome| assert!(outcome.is_err()));
}

#[test]
fn absurd_lengths_tags_and_codes_anywhere_do_no_harm() {
    let absurd = |response: &[u8]| {
        let ends = 0..response.len().saturating_sub(4);
        let at = |start: usize| {
            [[0xff; 4], [0; 4]].map(|four| {
                let mut spoiled = response.to_vec();
                spoiled[start..start + 4].copy_from_slice(&four);
                spoiled
            })
        };
        ends.flat_map(at).collect()
    };
    // What is no length may have another value: then the script is over, or all is well.
    each_spoiled(absurd, drop);
}

const QUOTE: u32 = 0x158;
const UNSEAL: u32 = 0x15e;
