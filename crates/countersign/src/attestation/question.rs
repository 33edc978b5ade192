//! What a gateway has asked of a machine and not heard yet: one credential and one nonce for each channel, each good once and
//! for half a minute, so that nobody makes the gateway remember more.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::credential::OpenCredential;

/// The open questions of one channel.
#[derive(Default)]
pub(crate) struct Questions {
    credential: Mutex<Option<Open<Box<OpenCredential>>>>,
    nonce: Mutex<Option<Open<[u8; NONCE]>>>,
}

struct Open<T> {
    asked: T,
    until: Timestamp,
}

impl Questions {
    /// Notes the credential that a TPM was given, in place of one before.
    pub(crate) fn ask_credential(&self, credential: OpenCredential, now: Timestamp) {
        ask(&self.credential, Box::new(credential), now);
    }

    /// The credential that was given, once, in its time.
    pub(crate) fn take_credential(&self, now: Timestamp) -> Option<OpenCredential> {
        take(&self.credential, now).map(|credential| *credential)
    }

    /// A fresh nonce, in place of one before.
    pub(crate) fn ask_nonce(&self, now: Timestamp) -> [u8; NONCE] {
        let nonce = crate::random::bytes();
        ask(&self.nonce, nonce, now);
        nonce
    }

    /// The nonce that was asked with, once, in its time.
    pub(crate) fn take_nonce(&self, now: Timestamp) -> Option<[u8; NONCE]> {
        take(&self.nonce, now)
    }
}

fn ask<T>(slot: &Mutex<Option<Open<T>>>, asked: T, now: Timestamp) {
    let until = now.saturating_add(ANSWER_WITHIN).unwrap_or(Timestamp::MAX);
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Open { asked, until });
}

fn take<T>(slot: &Mutex<Option<Open<T>>>, now: Timestamp) -> Option<T> {
    let open = slot.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    (now < open.until).then_some(open.asked)
}

/// As long as a SHA-256: nobody meets one twice.
pub(crate) const NONCE: usize = 32;

/// A TPM takes a second or two for its part, where it is slow.
const ANSWER_WITHIN: SignedDuration = SignedDuration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_nonce_is_good_once() {
        let questions = Questions::default();
        let nonce = questions.ask_nonce(at(0));
        assert_eq!(questions.take_nonce(at(1)), Some(nonce));
        assert_eq!(questions.take_nonce(at(1)), None);
    }

    #[test]
    fn a_nonce_is_good_for_half_a_minute() {
        let questions = Questions::default();
        questions.ask_nonce(at(0));
        assert_eq!(questions.take_nonce(at(30)), None);
    }

    #[test]
    fn a_later_nonce_takes_the_place_of_an_earlier_one() {
        let questions = Questions::default();
        let (first, second) = (questions.ask_nonce(at(0)), questions.ask_nonce(at(1)));
        assert_ne!(first, second);
        assert_eq!(questions.take_nonce(at(2)), Some(second));
    }
}
