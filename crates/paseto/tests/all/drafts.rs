//! The drafts of versions 5 and 6 against vectors of another implementation.

use countersign_paseto::paserk::{
    Confidential, Identifies, ProtectedKey, Protects, Seals, WorkLimits, Wraps,
};
use countersign_paseto::{
    Asserts, Envelope, Generates, Holds, InvalidKey, Key, KeyId, Kind, Local, Opens, Pairs, Public,
    Purpose, SealPublic, SealSecret, Secret, SystemRandom, TokenError, UntrustedToken, V5, V6,
    Version, mint_payload,
};
use serde_json::Value;

use crate::support::{Fixed, document, hex, text};

#[test]
fn local_tokens_are_those_of_the_drafts() {
    tokens::<V5, Local>("v5_local", |key| key, "key");
    tokens::<V6, Local>("v6_local", |key| key, "key");
    for (vector, version) in [("v5_local", "v5"), ("v6_local", "v6")] {
        for vector in succeeding(vector) {
            let minted = match version {
                "v5" => mint_again::<V5>(&vector),
                _ => mint_again::<V6>(&vector),
            };
            assert_eq!(minted, text(&vector, "token"));
        }
    }
}

#[test]
fn public_tokens_are_those_of_the_drafts() {
    tokens::<V5, Public>("v5_public", |key| key, "public_key");
    tokens::<V6, Public>("v6_public_draft", |key| key, "public_key");
}

#[test]
fn v6_tokens_whose_signatures_leave_the_key_out_verify_only_when_asked_for() {
    let without = Key::<V6, Public>::for_signatures_without_key;
    tokens::<V6, Public>("v6_public", without, "public_key");
    for vector in succeeding("v6_public") {
        assert_eq!(open::<V6, Public>(&vector, |key| key, "public_key"), None);
    }
    for vector in succeeding("v6_public_draft") {
        assert_eq!(open::<V6, Public>(&vector, without, "public_key"), None);
    }
}

#[test]
fn a_secret_key_signs_what_its_public_half_verifies() {
    for vector in succeeding("v5_public") {
        let secret = Key::<V5, Secret>::from_bytes(&hex(&vector, "secret_key")).unwrap();
        assert_eq!(secret.public().to_bytes(), hex(&vector, "public_key"));
        signed(&secret);
    }
    for vector in succeeding("v6_public_draft").into_iter().take(1) {
        let secret = Key::<V6, Secret>::from_bytes(&hex(&vector, "secret_key")).unwrap();
        assert_eq!(secret.public().to_bytes(), hex(&vector, "public_key"));
        signed(&secret);
    }
}

#[test]
fn k5_keys_are_those_of_the_draft() {
    keys::<V5>("k5");
}

#[test]
fn k6_keys_are_those_of_the_draft() {
    keys::<V6>("k6");
}

#[test]
fn keys_carry_the_revision_of_their_draft() {
    let revision = V5::DRAFT_REVISION.expect("a draft");
    let key = Key::<V5, Local>::generate(&SystemRandom).unwrap();
    assert_eq!(
        format!("{key:?}"),
        format!("Key(k5.local, draft {revision})")
    );
    assert_eq!(V6::DRAFT_REVISION, Some(revision));
}

#[test]
fn keys_that_sign_and_keys_that_unseal_are_told_apart_by_their_length() {
    let length = |expected, found| Err(InvalidKey::Length { expected, found });
    let signing = Key::<V5, Secret>::generate(&SystemRandom).unwrap();
    let unsealing = Key::<V5, SealSecret>::generate(&SystemRandom).unwrap();
    let read_sealing = |bytes: &[u8]| Key::<V5, SealSecret>::from_bytes(bytes).map(drop);
    let read_signing = |bytes: &[u8]| Key::<V5, Secret>::from_bytes(bytes).map(drop);
    assert_eq!(read_sealing(&signing.expose_secret()), length(64, 32));
    assert_eq!(read_signing(&unsealing.expose_secret()), length(32, 64));
}

#[test]
fn a_v6_secret_key_with_anothers_root_is_refused() {
    let mut bytes = Key::<V6, Secret>::generate(&SystemRandom)
        .unwrap()
        .expose_secret();
    bytes[63] ^= 1;
    let refused = Key::<V6, Secret>::from_bytes(&bytes).map(drop);
    assert_eq!(refused, Err(InvalidKey::Inconsistent));
}

#[test]
fn an_encapsulation_key_with_a_coefficient_that_is_not_reduced_is_refused() {
    let recipient = Key::<V5, SealSecret>::generate(&SystemRandom)
        .unwrap()
        .recipient();
    let mut bytes = recipient.to_bytes();
    bytes[..2].copy_from_slice(&[0xff, 0xff]);
    let refused = Key::<V5, SealPublic>::from_bytes(&bytes).map(drop);
    assert_eq!(refused, Err(InvalidKey::Invalid));
}

fn all(field: &str) -> Vec<Value> {
    let list = |document: Value| document[field].as_array().expect("a list").clone();
    document("draft_v5_v6.json").map(list).unwrap_or_default()
}

fn succeeding(field: &str) -> Vec<Value> {
    let fails = |vector: &Value| vector["expect_fail"] == true;
    all(field).into_iter().filter(|v| !fails(v)).collect()
}

fn tokens<V: Asserts + Opens<P>, P: Purpose + Kind>(
    field: &str,
    prepare: fn(Key<V, P>) -> Key<V, P>,
    key: &str,
) {
    for vector in all(field) {
        let opened = open::<V, P>(&vector, prepare, key);
        let expected = (vector["expect_fail"] != true).then(|| hex(&vector, "payload"));
        assert_eq!(opened, expected, "{}", text(&vector, "name"));
    }
}

/// The payload, when the token authenticates and its footer is the required one.
fn open<V: Asserts + Opens<P>, P: Purpose + Kind>(
    vector: &Value,
    prepare: fn(Key<V, P>) -> Key<V, P>,
    key: &str,
) -> Option<Vec<u8>> {
    let key = prepare(Key::from_bytes(&hex(vector, key)).unwrap());
    let token = UntrustedToken::<V, P>::parse(text(vector, "token")).ok()?;
    let opened = token
        .asserting(hex(vector, "implicit_assertion"))
        .open(&key)
        .ok()?;
    (opened.footer() == hex(vector, "footer")).then(|| opened.payload().to_vec())
}

fn mint_again<V: Asserts + countersign_paseto::Mints<Local>>(vector: &Value) -> String {
    let key = Key::<V, Local>::from_bytes(&hex(vector, "key")).unwrap();
    let envelope = Envelope {
        footer: &hex(vector, "footer"),
        assertion: &hex(vector, "implicit_assertion"),
    };
    let nonce = Fixed(hex(vector, "nonce"));
    mint_payload(&key, &hex(vector, "payload"), envelope, &nonce).unwrap()
}

fn signed<V>(secret: &Key<V, Secret>)
where
    V: Asserts + Pairs + Opens<Public> + countersign_paseto::Mints<Secret>,
{
    let envelope = Envelope {
        footer: b"foot",
        assertion: b"here",
    };
    let token = mint_payload(secret, b"payload", envelope, &SystemRandom).unwrap();
    let open = |assertion: &str| {
        let token = UntrustedToken::<V, Public>::parse(&token).unwrap();
        let opened = token.asserting(assertion).open(&secret.public());
        opened.map(|opened| opened.payload().to_vec())
    };
    assert_eq!(open("here"), Ok(b"payload".to_vec()));
    assert_eq!(open("there"), Err(TokenError::NotAuthentic));
}

fn keys<V>(version: &str)
where
    V: Identifies + Pairs + Protects + Seals<To = SealPublic, With = SealSecret>,
    V: Holds<SealPublic> + Holds<SealSecret> + Generates<Local>,
{
    for vector in all(version) {
        let kind = text(&vector, "type").split_once('.').unwrap().1;
        let read = match kind {
            "local" => plain::<V, Local>(&vector),
            "public" => plain::<V, Public>(&vector),
            "secret" => plain::<V, Secret>(&vector),
            "lid" => id::<V, Local>(&vector),
            "pid" => id::<V, Public>(&vector),
            "sid" => id::<V, Secret>(&vector),
            "local-wrap.pie" => wrapped::<V, Local>(&vector),
            "secret-wrap.pie" => wrapped::<V, Secret>(&vector),
            "local-pw" => protected::<V, Local>(&vector),
            "secret-pw" => protected::<V, Secret>(&vector),
            "seal" => sealed::<V>(&vector),
            _ => sealing_pair::<V>(&vector),
        };
        let expected = vector["expect_fail"] != true;
        assert_eq!(
            read.is_some(),
            expected,
            "{kind} {}",
            text(&vector, "comment")
        );
    }
}

fn plain<V: Holds<K>, K: Kind>(vector: &Value) -> Option<()> {
    let key = Key::<V, K>::from_paserk(text(vector, "paserk")).ok()?;
    assert_eq!(*key.expose_secret(), hex(vector, "key"));
    assert_eq!(*key.to_paserk(), text(vector, "paserk"));
    Some(())
}

fn id<V: Holds<K> + Identifies, K: Kind>(vector: &Value) -> Option<()> {
    let key = Key::<V, K>::from_paserk(text(vector, "id_of")).ok()?;
    let id: KeyId = text(vector, "paserk").parse().ok()?;
    assert_eq!(key.id(), id);
    Some(())
}

fn wrapped<V: Wraps + Holds<K>, K: Confidential>(vector: &Value) -> Option<()> {
    let wrapping = Key::<V, Local>::from_bytes(&hex(vector, "wrapping_key")).unwrap();
    let key = Key::<V, K>::unwrap(text(vector, "paserk"), &wrapping).ok()?;
    assert_eq!(*key.expose_secret(), hex(vector, "unwrapped"));
    Some(())
}

fn protected<V: Protects + Holds<K>, K: Confidential>(vector: &Value) -> Option<()> {
    let protected = ProtectedKey::<V, K>::parse(text(vector, "paserk")).ok()?;
    let key = protected
        .unlock(&hex(vector, "password"), &WorkLimits::default())
        .ok()?;
    assert_eq!(*key.expose_secret(), hex(vector, "unwrapped"));
    Some(())
}

fn sealed<V>(vector: &Value) -> Option<()>
where
    V: Seals<To = SealPublic, With = SealSecret> + Holds<SealSecret> + Holds<SealPublic>,
{
    let secret = Key::<V, SealSecret>::from_bytes(&hex(vector, "sealing_secret_key")).unwrap();
    let key = Key::<V, Local>::unseal(text(vector, "paserk"), &secret).ok()?;
    assert_eq!(*key.expose_secret(), hex(vector, "unsealed"));
    let to = Key::<V, SealPublic>::from_bytes(&hex(vector, "sealing_public_key")).unwrap();
    assert_eq!(secret.recipient().to_bytes(), to.to_bytes());
    let again = Key::<V, Local>::unseal(&key.seal(&to, &SystemRandom).unwrap(), &secret).unwrap();
    assert_eq!(again.expose_secret(), key.expose_secret());
    Some(())
}

/// A pair of sealing keys has the headers of a pair that signs.
fn sealing_pair<V>(vector: &Value) -> Option<()>
where
    V: Seals<To = SealPublic, With = SealSecret>,
    V: Holds<SealSecret> + Holds<SealPublic> + Identifies,
{
    let secret = Key::<V, SealSecret>::from_paserk(text(vector, "secret_paserk")).ok()?;
    let recipient = secret.recipient();
    assert_eq!(*recipient.to_paserk(), text(vector, "public_paserk"));
    assert_eq!(secret.id().as_str(), text(vector, "sid"));
    assert_eq!(recipient.id().as_str(), text(vector, "pid"));
    Some(())
}
