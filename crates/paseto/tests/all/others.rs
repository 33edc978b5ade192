//! Tokens and keys that other implementations made: npm paseto, pyseto, rusty_paseto.

use countersign_paseto::paserk::{
    Confidential, Identifies, ProtectedKey, Protects, Seals, WorkLimits, Wraps,
};
use countersign_paseto::{
    Asserts, Holds, InsecureV1, Key, Kind, Local, Opens, Pairs, Public, Purpose, Secret,
    UntrustedToken, V2, V3, V4,
};
use serde_json::Value;

use crate::support::{document, hex, text};

#[test]
fn their_tokens_are_accepted_and_their_altered_ones_refused() {
    let mut met = 0;
    for vector in all("tokens") {
        let opened = match (text(&vector, "version"), text(&vector, "purpose")) {
            ("v1", "local") => {
                open_without_assertion::<InsecureV1, Local>(&vector, &hex(&vector, "key"))
            }
            ("v1", "public") => {
                let key = hex(&vector["keypair"], "public_spki_der");
                open_without_assertion::<InsecureV1, Public>(&vector, &key)
            }
            ("v2", "local") => open_without_assertion::<V2, Local>(&vector, &hex(&vector, "key")),
            ("v2", "public") => {
                open_without_assertion::<V2, Public>(&vector, &hex(&vector["keypair"], "public"))
            }
            ("v3", "local") => open::<V3, Local>(&vector, &hex(&vector, "key")),
            ("v3", "public") => open::<V3, Public>(&vector, &hex(&vector["keypair"], "public")),
            ("v4", "local") => open::<V4, Local>(&vector, &hex(&vector, "key")),
            ("v4", "public") => open::<V4, Public>(&vector, &hex(&vector["keypair"], "public")),
            _ => continue,
        };
        met += 1;
        let name = format!("{} {}", text(&vector, "name"), text(&vector, "token"));
        match vector["expect_fail"] == true {
            true => assert_eq!(opened, None, "{name}"),
            false => assert_eq!(
                opened.as_deref(),
                Some(text(&vector, "payload").as_bytes()),
                "{name}"
            ),
        }
    }
    assert!(met == 0 || met > 200, "{met}");
}

#[test]
fn their_keys_are_read_and_their_altered_ones_refused() {
    let mut met = 0;
    for vector in all("paserk") {
        let read = match text(&vector, "type").split_at(3) {
            #[cfg(feature = "k1-seal")]
            ("k1.", "seal") => sealed::<InsecureV1>(&vector),
            #[cfg(not(feature = "k1-seal"))]
            ("k1.", "seal") => continue,
            ("k1.", kind) => key::<InsecureV1>(kind, &vector),
            ("k2.", "seal") => sealed::<V2>(&vector),
            ("k3.", "seal") => sealed::<V3>(&vector),
            ("k4.", "seal") => sealed::<V4>(&vector),
            ("k2.", kind) => key::<V2>(kind, &vector),
            ("k3.", kind) => key::<V3>(kind, &vector),
            ("k4.", kind) => key::<V4>(kind, &vector),
            _ => continue,
        };
        met += 1;
        let name = format!("{} {}", text(&vector, "name"), text(&vector, "paserk"));
        assert_eq!(read.is_none(), vector["expect_fail"] == true, "{name}");
        if let Some((found, expected)) = read {
            assert_eq!(found, expected, "{name}");
        }
    }
    assert!(met == 0 || met > 70, "{met}");
}

fn all(field: &str) -> Vec<Value> {
    let list = |document: Value| document[field].as_array().expect("a list").clone();
    document("other_implementations.json")
        .map(list)
        .unwrap_or_default()
}

/// The payload, when the token authenticates and its footer is the required one.
fn open<V: Asserts + Opens<P>, P: Purpose + Kind>(vector: &Value, key: &[u8]) -> Option<Vec<u8>> {
    let key = Key::<V, P>::from_bytes(key).ok()?;
    let token = UntrustedToken::<V, P>::parse(text(vector, "token")).ok()?;
    let opened = token
        .asserting(text(vector, "implicit_assertion"))
        .open(&key)
        .ok()?;
    (opened.footer() == text(vector, "footer").as_bytes()).then(|| opened.payload().to_vec())
}

fn open_without_assertion<V: Opens<P>, P: Purpose + Kind>(
    vector: &Value,
    key: &[u8],
) -> Option<Vec<u8>> {
    let key = Key::<V, P>::from_bytes(key).ok()?;
    let opened = UntrustedToken::<V, P>::parse(text(vector, "token"))
        .ok()?
        .open(&key)
        .ok()?;
    (opened.footer() == text(vector, "footer").as_bytes()).then(|| opened.payload().to_vec())
}

type FoundAndExpected = (Vec<u8>, Vec<u8>);

fn key<V: Identifies + Pairs + Protects>(kind: &str, vector: &Value) -> Option<FoundAndExpected> {
    match kind {
        "local" => plain::<V, Local>(vector),
        "public" => plain::<V, Public>(vector),
        "secret" => plain::<V, Secret>(vector),
        "lid" => id::<V, Local>(vector),
        "pid" => id::<V, Public>(vector),
        "sid" => id::<V, Secret>(vector),
        "local-wrap.pie" => wrapped::<V, Local>(vector),
        "secret-wrap.pie" => wrapped::<V, Secret>(vector),
        "local-pw" => protected::<V, Local>(vector),
        "secret-pw" => protected::<V, Secret>(vector),
        other => panic!("{other}"),
    }
}

fn plain<V: Holds<K>, K: Kind>(vector: &Value) -> Option<FoundAndExpected> {
    let key = Key::<V, K>::from_paserk(text(vector, "paserk")).ok()?;
    assert_eq!(*key.to_paserk(), text(vector, "paserk"));
    Some((key.expose_secret().to_vec(), bytes::<K>(vector, "key")))
}

fn id<V: Holds<K> + Identifies, K: Kind>(vector: &Value) -> Option<FoundAndExpected> {
    let key = Key::<V, K>::from_bytes(&bytes::<K>(vector, "key")).ok()?;
    Some((key.id().as_str().into(), text(vector, "paserk").into()))
}

fn wrapped<V: Wraps + Holds<K>, K: Confidential>(vector: &Value) -> Option<FoundAndExpected> {
    let wrapping = Key::<V, Local>::from_bytes(&hex(vector, "wrapping_key")).ok()?;
    let key = Key::<V, K>::unwrap(text(vector, "paserk"), &wrapping).ok()?;
    Some((
        key.expose_secret().to_vec(),
        bytes::<K>(vector, "unwrapped"),
    ))
}

fn protected<V: Protects + Holds<K>, K: Confidential>(vector: &Value) -> Option<FoundAndExpected> {
    let protected = ProtectedKey::<V, K>::parse(text(vector, "paserk")).ok()?;
    let key = protected
        .unlock(text(vector, "password").as_bytes(), &WorkLimits::default())
        .ok()?;
    Some((
        key.expose_secret().to_vec(),
        bytes::<K>(vector, "unwrapped"),
    ))
}

fn sealed<V: Seals>(vector: &Value) -> Option<FoundAndExpected> {
    let pair = &vector["sealing_keypair"];
    let secret = match V::PASERK {
        "k1" => hex(pair, "secret_pkcs1_der"),
        _ => hex(pair, "secret"),
    };
    let secret = Key::<V, V::With>::from_bytes(&secret).ok()?;
    let key = Key::unseal(text(vector, "paserk"), &secret).ok()?;
    Some((key.expose_secret().to_vec(), hex(vector, "unsealed")))
}

/// `field`, or the half of `keypair` or `…_keypair` that is of kind `K`.
fn bytes<K: Kind>(vector: &Value, field: &str) -> Vec<u8> {
    let pair = match field {
        "key" => &vector["keypair"],
        _ => &vector["unwrapped_keypair"],
    };
    let rsa = match K::PLAIN {
        "secret" => "secret_pkcs1_der",
        _ => "public_spki_der",
    };
    match pair.is_object() {
        true if pair[rsa].is_string() => hex(pair, rsa),
        true => hex(pair, K::PLAIN),
        false => hex(vector, field),
    }
}
