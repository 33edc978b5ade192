//! The official vectors of PASETO and PASERK, successes and failures.

use countersign_paseto::paserk::{
    Confidential, Identifies, ProtectedKey, Protects, Seals, WorkLimits, Wraps,
};
use countersign_paseto::{
    Envelope, Holds, InsecureV1, Key, Kind, Local, Mints, Opens, Pairs, Public, Purpose, Secret,
    UntrustedToken, V2, V3, V4, mint_payload, mint_payload_with_footer,
};
use serde_json::Value;

use crate::support::{Fixed, hex, text, vectors};

#[test]
fn v1_tokens_are_those_of_the_specification() {
    tokens::<InsecureV1>("paseto/v1.json", false);
}

#[test]
fn v2_tokens_are_those_of_the_specification() {
    tokens::<V2>("paseto/v2.json", true);
}

#[test]
fn v3_tokens_are_those_of_the_specification() {
    tokens::<V3>("paseto/v3.json", false);
}

#[test]
fn v4_tokens_are_those_of_the_specification() {
    tokens::<V4>("paseto/v4.json", true);
}

#[test]
fn k1_keys_are_those_of_the_specification() {
    keys::<InsecureV1>("k1");
}

#[test]
fn k2_keys_are_those_of_the_specification() {
    keys::<V2>("k2");
    sealed::<V2>("k2");
}

#[test]
fn k3_keys_are_those_of_the_specification() {
    keys::<V3>("k3");
    sealed::<V3>("k3");
}

#[test]
fn k4_keys_are_those_of_the_specification() {
    keys::<V4>("k4");
    sealed::<V4>("k4");
}

/// A version with everything, and what its vectors do with an implicit assertion.
trait Whole:
    Pairs + Protects + Identifies + Opens<Local> + Opens<Public> + Mints<Local> + Mints<Secret>
{
    fn asserting<P: Purpose>(
        token: UntrustedToken<Self, P>,
        assertion: &str,
    ) -> UntrustedToken<Self, P>;

    fn mint<K: Kind>(
        key: &Key<Self, K>,
        payload: &[u8],
        envelope: Envelope<'_>,
        nonce: Vec<u8>,
    ) -> String
    where
        Self: Mints<K>;
}

macro_rules! with_assertions {
    ($($version:ty),*) => {$(impl Whole for $version {
        fn asserting<P: Purpose>(token: UntrustedToken<Self, P>, assertion: &str) -> UntrustedToken<Self, P> {
            token.asserting(assertion)
        }

        fn mint<K: Kind>(key: &Key<Self, K>, payload: &[u8], envelope: Envelope<'_>, nonce: Vec<u8>) -> String
        where
            Self: Mints<K>,
        {
            mint_payload(key, payload, envelope, &Fixed(nonce)).unwrap()
        }
    })*};
}

macro_rules! without_assertions {
    ($($version:ty),*) => {$(impl Whole for $version {
        fn asserting<P: Purpose>(token: UntrustedToken<Self, P>, _: &str) -> UntrustedToken<Self, P> {
            token
        }

        fn mint<K: Kind>(key: &Key<Self, K>, payload: &[u8], envelope: Envelope<'_>, nonce: Vec<u8>) -> String
        where
            Self: Mints<K>,
        {
            mint_payload_with_footer(key, payload, envelope.footer, &Fixed(nonce)).unwrap()
        }
    })*};
}

with_assertions!(V3, V4);
without_assertions!(InsecureV1, V2);

fn tokens<V: Whole>(file: &str, deterministic: bool) {
    for vector in vectors(file) {
        match vector["key"].is_string() {
            true => token::<V, Local, Local>(&vector, "key", "key", true),
            false => token::<V, Public, Secret>(&vector, "public-key", "secret-key", deterministic),
        }
    }
}

/// Opens the vector's token and, where minting involves no chance, mints it again.
fn token<V, P, M>(vector: &Value, opening: &str, minting: &str, deterministic: bool)
where
    V: Whole + Opens<P> + Mints<M>,
    P: Purpose + Kind,
    M: Kind,
{
    let name = text(vector, "name");
    let assertion = text(vector, "implicit-assertion");
    let opened = Key::<V, P>::from_bytes(&hex(vector, opening))
        .ok()
        .and_then(|key| {
            let token = UntrustedToken::<V, P>::parse(text(vector, "token")).ok()?;
            V::asserting(token, assertion).open(&key).ok()
        });
    if vector["expect-fail"] == true {
        assert!(opened.is_none(), "{name}");
        return;
    }
    let opened = opened.expect(name);
    assert_eq!(
        opened.payload(),
        text(vector, "payload").as_bytes(),
        "{name}"
    );
    assert_eq!(opened.footer(), text(vector, "footer").as_bytes(), "{name}");

    let key = Key::<V, M>::from_bytes(&hex(vector, minting)).expect(name);
    let envelope = Envelope {
        footer: opened.footer(),
        assertion: assertion.as_bytes(),
    };
    // what signs with chance takes some where the vector has none
    let nonce = match text(vector, "nonce") {
        "" => vec![7; 64],
        _ => hex(vector, "nonce"),
    };
    let minted = V::mint(&key, opened.payload(), envelope, nonce);
    if deterministic {
        assert_eq!(minted, text(vector, "token"), "{name}");
    }
}

fn keys<V: Whole>(version: &str) {
    plain::<V, Local>(version);
    plain::<V, Public>(version);
    plain::<V, Secret>(version);
    id::<V, Local>(version);
    id::<V, Public>(version);
    id::<V, Secret>(version);
    wrapped::<V, Local>(version);
    wrapped::<V, Secret>(version);
    protected::<V, Local>(version);
    protected::<V, Secret>(version);
}

fn plain<V: Holds<K>, K: Kind>(version: &str) {
    for vector in vectors(&format!("paserk/{version}.{}.json", K::PLAIN)) {
        let name = text(&vector, "name");
        let from_bytes = Key::<V, K>::from_bytes(&hex(&vector, "key"));
        if vector["expect-fail"] == true {
            assert!(from_bytes.is_err(), "{name}");
            assert!(
                Key::<V, K>::from_paserk(text(&vector, "paserk")).is_err(),
                "{name}"
            );
            continue;
        }
        assert_eq!(
            *from_bytes.expect(name).to_paserk(),
            text(&vector, "paserk"),
            "{name}"
        );
        let from_paserk = Key::<V, K>::from_paserk(text(&vector, "paserk")).expect(name);
        assert_eq!(*from_paserk.expose_secret(), hex(&vector, "key"), "{name}");
    }
}

fn id<V: Holds<K> + Identifies, K: Kind>(version: &str) {
    for vector in vectors(&format!("paserk/{version}.{}.json", K::ID)) {
        let name = text(&vector, "name");
        let key = Key::<V, K>::from_bytes(&hex(&vector, "key"));
        match vector["expect-fail"] == true {
            true => assert!(key.is_err(), "{name}"),
            false => assert_eq!(
                key.expect(name).id().as_str(),
                text(&vector, "paserk"),
                "{name}"
            ),
        }
    }
}

fn wrapped<V: Wraps + Holds<K>, K: Confidential>(version: &str) {
    for vector in vectors(&format!("paserk/{version}.{}.pie.json", K::WRAPPED)) {
        let name = text(&vector, "name");
        let wrapping = Key::<V, Local>::from_bytes(&hex(&vector, "wrapping-key")).expect(name);
        let paserk = text(&vector, "paserk");
        let key = Key::<V, K>::unwrap(paserk, &wrapping);
        if vector["expect-fail"] == true {
            assert!(key.is_err(), "{name}");
            continue;
        }
        let key = key.expect(name);
        assert_eq!(*key.expose_secret(), hex(&vector, "unwrapped"), "{name}");
        let nonce = nonce_of(paserk, version);
        assert_eq!(
            key.wrap(&wrapping, &Fixed(nonce)).expect(name),
            paserk,
            "{name}"
        );
    }
}

fn protected<V: Protects + Holds<K>, K: Confidential>(version: &str) {
    for vector in vectors(&format!("paserk/{version}.{}.json", K::PROTECTED)) {
        let name = text(&vector, "name");
        let password = text(&vector, "password").as_bytes();
        let key = ProtectedKey::<V, K>::parse(text(&vector, "paserk"))
            .and_then(|protected| protected.unlock(password, &WorkLimits::default()));
        match vector["expect-fail"] == true {
            true => assert!(key.is_err(), "{name}"),
            false => assert_eq!(
                *key.expect(name).expose_secret(),
                hex(&vector, "unwrapped"),
                "{name}"
            ),
        }
    }
}

pub(crate) fn sealed<V: Seals>(version: &str) {
    for vector in vectors(&format!("paserk/{version}.seal.json")) {
        let name = text(&vector, "name");
        let secret = Key::<V, V::With>::from_bytes(&sealing_secret(&vector)).ok();
        let key = secret.and_then(|secret| Key::unseal(text(&vector, "paserk"), &secret).ok());
        match vector["expect-fail"] == true {
            true => assert!(key.is_none(), "{name}"),
            false => assert_eq!(
                *key.expect(name).expose_secret(),
                hex(&vector, "unsealed"),
                "{name}"
            ),
        }
    }
}

/// The scalar alone, out of its DER (RFC 5915: it begins at the ninth byte).
fn sealing_secret(vector: &Value) -> Vec<u8> {
    let secret = hex(vector, "sealing-secret-key");
    match secret.starts_with(b"\x30\x81\xa4") {
        true => secret[8..56].to_vec(),
        false => secret,
    }
}

/// The 32 bytes after the tag, so that wrapping can be repeated.
fn nonce_of(paserk: &str, version: &str) -> Vec<u8> {
    let tag = if matches!(version, "k1" | "k3") {
        48
    } else {
        32
    };
    let data = paserk.rsplit('.').next().expect("a header");
    let bytes = base64_simd::URL_SAFE_NO_PAD
        .decode_to_vec(data)
        .expect("base64url");
    bytes[tag..tag + 32].to_vec()
}
