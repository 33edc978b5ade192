//! Signing elsewhere: what comes back is checked before a token is released.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use countersign_paseto::{
    Claims, Envelope, Key, MemorySigner, Public, Rules, Secret, SignError, Signer, SignsElsewhere,
    SystemRandom, UntrustedToken, V3, V4,
};
use jiff::Timestamp;

fn expiry() -> Timestamp {
    "2039-01-01T00:00:00Z".parse().unwrap()
}

/// The result of a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("it waits"),
    }
}

/// A signer that another key stands behind, or none.
struct Broken {
    claimed: Key<V4, Public>,
    signature: Result<Vec<u8>, &'static str>,
}

impl Signer<V4> for Broken {
    type Error = &'static str;

    fn public(&self) -> &Key<V4, Public> {
        &self.claimed
    }

    async fn sign(&self, _message: Vec<u8>) -> Result<Vec<u8>, &'static str> {
        self.signature.clone()
    }
}

fn round_trip<V: SignsElsewhere>(secret: Key<V, Secret>) {
    let public = secret.public();
    let envelope = Envelope {
        footer: b"foot",
        assertion: b"here",
    };
    let claims = Claims::new(()).subject("alice").expires_at(expiry());
    let token = now(claims.mint_elsewhere(&MemorySigner::new(secret), envelope)).unwrap();
    let read = UntrustedToken::parse(&token).unwrap().asserting("here");
    let verified = read
        .verify::<()>(&public, &Rules::new(), Timestamp::UNIX_EPOCH)
        .unwrap();
    assert_eq!(
        (verified.subject(), verified.footer()),
        (Some("alice"), b"foot".as_slice())
    );
}

fn refused(signature: Result<Vec<u8>, &'static str>) -> Result<String, SignError<&'static str>> {
    let claimed = Key::<V4, Secret>::generate(&SystemRandom).unwrap().public();
    let claims = Claims::new(()).expires_at(expiry());
    now(claims.mint_elsewhere(&Broken { claimed, signature }, Envelope::default()))
}

#[test]
fn a_token_signed_elsewhere_verifies() {
    round_trip(Key::<V3, Secret>::generate(&SystemRandom).unwrap());
    round_trip(Key::<V4, Secret>::generate(&SystemRandom).unwrap());
}

#[test]
#[cfg(feature = "draft")]
fn a_token_of_a_draft_signed_elsewhere_verifies() {
    use countersign_paseto::{V5, V6};

    round_trip(Key::<V5, Secret>::generate(&SystemRandom).unwrap());
    round_trip(Key::<V6, Secret>::generate(&SystemRandom).unwrap());
}

#[test]
fn a_wrong_signature_is_not_released() {
    for length in [0, 63, 64, 65, 128] {
        assert_eq!(
            refused(Ok(vec![1; length])),
            Err(SignError::WrongSignature),
            "{length}"
        );
    }
}

#[test]
fn a_failing_signer_is_named() {
    assert_eq!(
        refused(Err("unplugged")),
        Err(SignError::Signer("unplugged"))
    );
}
