//! Whole mints and verifications with claims beside the raw operation, and a key ring that grows.

use std::hint::black_box;

use countersign_paseto::{
    Claims, Key, KeyRing, KeySet, Kind, Mints, Opens, Purpose, Rules, SystemRandom, UntrustedToken,
    V2, V3, V4, Window, mint_payload_with_footer,
};
use countersign_paseto_peers::clock::race;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::rows::{local, secret};
use crate::{micros, ratio};

pub(crate) fn print(wanted: &dyn Fn(&str) -> bool) {
    if wanted("claims") {
        beside_raw();
    }
    if wanted("ring") {
        println!("\n| key ring of | mint | verify |\n|--:|--:|--:|");
        [10, 10_000].into_iter().for_each(through_ring);
    }
}

/// The same claims as a plain struct of serde's: what JSON alone costs, with no name looked at twice and no rule.
#[derive(Serialize, Deserialize)]
struct Plain {
    iss: String,
    sub: String,
    aud: String,
    exp: Timestamp,
    nbf: Timestamp,
    iat: Timestamp,
    jti: String,
    role: String,
}

/// What an application adds to the registered claims.
#[derive(Serialize, Deserialize)]
struct Session {
    role: String,
}

/// All seven registered claims and one more: 201 bytes of JSON.
fn claims(now: Timestamp) -> Claims<Session> {
    Claims::new(Session {
        role: "admin".to_owned(),
    })
    .issuer("id.example.org")
    .subject("alice.b")
    .audience("api.example.org")
    .issued_at(now)
    .not_before(now)
    .expires_at(now + SignedDuration::from_mins(10))
    .token_id("01J9Z3NDEKTSV4RRFFQ69G5FAV")
}

fn rules() -> Rules {
    Rules::new()
        .issuer("id.example.org")
        .audience("api.example.org")
}

fn beside_raw() {
    println!(
        "\n| 201 B of claims | raw mint | whole | whole / raw | raw verify | whole | whole / raw | with serde_json alone / raw |"
    );
    println!("|---|{}", "--:|".repeat(7));
    let json = json_alone();
    let key = local::<V4>();
    whole("v4.local", &key, &key, json);
    let key = secret::<V4>();
    whole("v4.public", &key, &key.public(), json);
    let key = local::<V3>();
    whole("v3.local", &key, &key, json);
    let key = secret::<V3>();
    whole("v3.public", &key, &key.public(), json);
    let key = local::<V2>();
    whole("v2.local", &key, &key, json);
}

/// Nanoseconds of a reading, of which a verification with serde_json takes no less.
fn json_alone() -> Option<f64> {
    let payload = claims(Timestamp::now()).to_json();
    let payload = payload.expect("the claims serialise");
    let plain: Plain = serde_json::from_slice(&payload).expect("the claims are JSON");
    let times = race(&mut [
        &mut || {
            black_box(serde_json::to_vec(black_box(&plain)).is_ok());
        },
        &mut || {
            let read: Result<Plain, _> = serde_json::from_slice(black_box(&payload));
            black_box(read.expect("the claims are JSON"));
        },
    ]);
    let [written, read] = times[..] else {
        return None;
    };
    let cells = [micros(Some(written)), micros(Some(read))].join(" | | | ");
    println!("| serde_json alone | | {cells} | | |");
    Some(read)
}

fn whole<V, K, P>(name: &str, minting: &Key<V, K>, opening: &Key<V, P>, json: Option<f64>)
where
    V: Mints<K, Purpose = P> + Opens<P>,
    K: Kind,
    P: Purpose + Kind,
{
    let now = Timestamp::now();
    let (claims, rules) = (claims(now), rules());
    let payload = claims.to_json().expect("the claims serialise");
    assert_eq!(payload.len(), 201);
    let token = claims
        .mint(minting, &SystemRandom)
        .expect("there is randomness");
    let parsed = || UntrustedToken::<V, P>::parse(black_box(&token)).expect("a token");
    let times = race(&mut [
        &mut || {
            black_box(
                mint_payload_with_footer(minting, black_box(&payload), b"", &SystemRandom).is_ok(),
            );
        },
        &mut || {
            black_box(black_box(&claims).mint(minting, &SystemRandom).is_ok());
        },
        &mut || {
            black_box(parsed().open(opening).is_ok());
        },
        &mut || {
            let verified = parsed().verify::<Session>(opening, &rules, now);
            black_box(verified.expect("a valid token"));
        },
    ]);
    let [raw_mint, mint, raw_verify, verify] = times[..] else {
        return;
    };
    let cells = [
        micros(Some(raw_mint)),
        micros(Some(mint)),
        ratio(Some(mint), Some(raw_mint)),
        micros(Some(raw_verify)),
        micros(Some(verify)),
        ratio(Some(verify), Some(raw_verify)),
        ratio(json.map(|json| raw_verify + json), Some(raw_verify)),
    ];
    println!("| {name} | {} |", cells.join(" | "));
}

fn through_ring(size: i64) {
    let now = Timestamp::now();
    let hour = SignedDuration::from_hours(1);
    let keys = (0..size).fold(KeySet::new(), |keys, age| {
        let from = now - SignedDuration::from_secs(age);
        keys.with(
            local::<V4>(),
            Window::new(from, from + hour * 24, from + hour * 48),
        )
    });
    let (ring, rules, claims) = (KeyRing::new(keys), rules(), claims(now));
    let mint = || {
        ring.mint(&claims, b"", now, &SystemRandom)
            .expect("a key is current")
    };
    let token = mint();
    let times = race(&mut [&mut || drop(black_box(mint())), &mut || {
        let verified = ring.verify::<Session>(black_box(&token), b"", &rules, now);
        black_box(verified.expect("a valid token"));
    }]);
    let cells: Vec<_> = times.into_iter().map(|time| micros(Some(time))).collect();
    println!("| {size} keys | {} |", cells.join(" | "));
}
