//! The vectors of our own making in `tests/vectors.json`: what was written once is read for ever.

use countersign_paseto::paserk::{
    Confidential, Identifies, ProtectedKey, Protects, Seals, WorkLimits, Wraps,
};
use countersign_paseto::{
    Holds, InsecureV1, Key, Kind, Local, Opens, Pairs, Public, Purpose, Secret, UntrustedToken, V2,
    V3, V4,
};
#[cfg(feature = "draft")]
use countersign_paseto::{V5, V6};
use serde_json::Value;

use crate::support::text;

#[test]
fn every_vector_of_our_own_still_holds() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../vectors.json")).unwrap();
    assert_eq!(vectors.len(), 6 * 9 + 6);
    for vector in vectors {
        match (text(&vector, "key").split_at(2).0, text(&vector, "type")) {
            #[cfg(feature = "k1-seal")]
            ("k1", "seal") => sealed::<InsecureV1>(&vector),
            #[cfg(not(feature = "k1-seal"))]
            ("k1", "seal") => {}
            ("k1", _) => check::<InsecureV1>(&vector),
            ("k2", "seal") => sealed::<V2>(&vector),
            ("k2", _) => check::<V2>(&vector),
            ("k3", "seal") => sealed::<V3>(&vector),
            ("k3", _) => check::<V3>(&vector),
            ("k4", "seal") => sealed::<V4>(&vector),
            ("k4", _) => check::<V4>(&vector),
            #[cfg(feature = "draft")]
            ("k5", "seal") => sealed::<V5>(&vector),
            #[cfg(feature = "draft")]
            ("k5", _) => check::<V5>(&vector),
            #[cfg(feature = "draft")]
            ("k6", "seal") => sealed::<V6>(&vector),
            #[cfg(feature = "draft")]
            ("k6", _) => check::<V6>(&vector),
            #[cfg(not(feature = "draft"))]
            ("k5" | "k6", _) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn check<V>(vector: &Value)
where
    V: Pairs + Protects + Identifies + Opens<Local> + Opens<Public>,
{
    match text(vector, "type") {
        "token" if text(vector, "key").contains(".local.") => token::<V, Local>(vector),
        "token" => token::<V, Public>(vector),
        "lid" => id::<V, Local>(vector),
        "pid" => id::<V, Public>(vector),
        "sid" => id::<V, Secret>(vector),
        "local-wrap" => wrapped::<V, Local>(vector),
        "secret-wrap" => wrapped::<V, Secret>(vector),
        "local-pw" => protected::<V, Local>(vector),
        "secret-pw" => protected::<V, Secret>(vector),
        other => panic!("{other}"),
    }
}

fn key<V: Holds<K>, K: Kind>(vector: &Value, field: &str) -> Key<V, K> {
    Key::from_paserk(text(vector, field)).unwrap()
}

fn token<V: Opens<P>, P: Purpose + Kind>(vector: &Value) {
    let token = UntrustedToken::<V, P>::parse(text(vector, "token")).unwrap();
    let opened = token.open(&key(vector, "key")).unwrap();
    assert_eq!(opened.payload(), text(vector, "payload").as_bytes());
    assert_eq!(opened.footer(), text(vector, "footer").as_bytes());
}

fn id<V: Holds<K> + Identifies, K: Kind>(vector: &Value) {
    assert_eq!(
        key::<V, K>(vector, "key").id().as_str(),
        text(vector, "paserk")
    );
}

fn wrapped<V: Wraps + Holds<K>, K: Confidential>(vector: &Value) {
    let found = Key::<V, K>::unwrap(text(vector, "paserk"), &key(vector, "wrapping")).unwrap();
    assert_eq!(*found.to_paserk(), text(vector, "key"));
}

fn protected<V: Protects + Holds<K>, K: Confidential>(vector: &Value) {
    let protected = ProtectedKey::<V, K>::parse(text(vector, "paserk")).unwrap();
    let found = protected
        .unlock(text(vector, "password").as_bytes(), &WorkLimits::default())
        .unwrap();
    assert_eq!(*found.to_paserk(), text(vector, "key"));
}

fn sealed<V: Seals>(vector: &Value) {
    let found = Key::<V, Local>::unseal(text(vector, "paserk"), &key(vector, "secret")).unwrap();
    assert_eq!(*found.to_paserk(), text(vector, "key"));
}
