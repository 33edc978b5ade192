//! Whether secrets show in time, after dudect (Reparaz, Balasch, Verbauwhede, "Dude, is my code constant time?").
//!
//! Two classes of input take turns at random; Welch's t tells whether their times differ. Below 4.5 there is no evidence.

use std::hint::black_box;
use std::time::Instant;

use countersign_paseto::{
    Envelope, Key, Local, Random, SystemRandom, TokenError, UntrustedToken, V4, mint_payload,
};
use subtle::ConstantTimeEq;

use crate::rows::local;

pub(crate) fn print(wanted: &dyn Fn(&str) -> bool) {
    if !wanted("timing") {
        return;
    }
    println!("\n| does a secret show in time? | Welch's t |\n|---|--:|");
    report(
        "tag comparison: wrong in its first or in its last byte",
        tags(),
    );
    report(
        "secret base64 decoded: one key or random ones",
        keys_as_text(),
    );
    report(
        "secret base64 encoded: one key or random ones",
        text_of_keys(),
    );
    report(
        "control, `subtle` over 4 KiB: wrong in its first or in its last byte",
        compared(|a, b| a.ct_eq(b).into()),
    );
    report(
        "control, `==` over 4 KiB, which stops early",
        compared(|a, b| a == b),
    );
}

fn report(name: &str, t: f64) {
    println!("| {name} | {t:.1} |");
}

/// The time of each call, with the class that it belongs to; classes come in random order.
fn measured<T>(mut make: impl FnMut(bool) -> T, run: impl Fn(&T)) -> f64 {
    let mut times: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    let mut coins = vec![0; CALLS];
    SystemRandom.fill(&mut coins).expect("there is randomness");
    let inputs: Vec<(bool, T)> = coins
        .iter()
        .map(|coin| (coin & 1 == 1, make(coin & 1 == 1)))
        .collect();
    for (class, input) in &inputs {
        let start = Instant::now();
        run(black_box(input));
        let time = start.elapsed().as_secs_f64();
        let [first, second] = &mut times;
        if *class {
            first.push(time)
        } else {
            second.push(time)
        }
    }
    welch(times.map(cropped))
}

/// Without the slowest tenth, which the machine and not the code has made slow.
fn cropped(mut times: Vec<f64>) -> Vec<f64> {
    times.sort_by(f64::total_cmp);
    times.truncate(times.len() * 9 / 10);
    times
}

/// Welch's t statistic.
fn welch([first, second]: [Vec<f64>; 2]) -> f64 {
    let moments = |times: &[f64]| {
        let count = times.iter().map(|_| 1.0).sum::<f64>();
        let mean = times.iter().sum::<f64>() / count;
        let squares: f64 = times.iter().map(|time| (time - mean).powi(2)).sum();
        (mean, squares / (count - 1.0) / count)
    };
    let ((mean, spread), (other, other_spread)) = (moments(&first), moments(&second));
    ((mean - other) / (spread + other_spread).sqrt()).abs()
}

/// An altered tag never authenticates; where it differs must not show.
fn tags() -> f64 {
    let key = local::<V4>();
    let token = mint_payload(&key, b"payload", Envelope::default(), &SystemRandom);
    let body = token
        .expect("there is randomness")
        .split_off("v4.local.".len());
    let body = base64_simd::URL_SAFE_NO_PAD
        .decode_to_vec(body)
        .expect("a token");
    let altered = |first| {
        let mut body = body.clone();
        let place = body.len() - if first { 32 } else { 1 };
        flip(&mut body, place);
        format!(
            "v4.local.{}",
            base64_simd::URL_SAFE_NO_PAD.encode_to_string(body)
        )
    };
    let (first, last) = (altered(true), altered(false));
    measured(
        |class| if class { first.clone() } else { last.clone() },
        |token| {
            let opened = UntrustedToken::parse(token).and_then(|token| token.open(&key));
            assert_eq!(opened.map(drop), Err(TokenError::NotAuthentic));
        },
    )
}

fn keys_as_text() -> f64 {
    let one = local::<V4>().expose_secret();
    measured(
        |class| key(class, &one).to_paserk(),
        |text| drop(black_box(Key::<V4, Local>::from_paserk(text))),
    )
}

fn text_of_keys() -> f64 {
    let one = local::<V4>().expose_secret();
    measured(
        |class| key(class, &one),
        |key| drop(black_box(key.to_paserk())),
    )
}

/// Always the key `one`, or always another.
fn key(class: bool, one: &[u8]) -> Key<V4, Local> {
    let other = local::<V4>().expose_secret();
    Key::from_bytes(if class { one } else { &other }).expect("a key of 32 bytes")
}

fn compared(equal: impl Fn(&[u8], &[u8]) -> bool) -> f64 {
    let secret = vec![7; 4096];
    let altered = |first| {
        let mut guess = secret.clone();
        let place = if first { 0 } else { guess.len() - 1 };
        flip(&mut guess, place);
        guess
    };
    measured(altered, |guess| {
        black_box(equal(&secret, guess));
    })
}

fn flip(bytes: &mut [u8], place: usize) {
    if let Some(byte) = bytes.get_mut(place) {
        *byte ^= 1;
    }
}

const CALLS: usize = 50_000;
