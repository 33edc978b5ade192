//! Wrapped, protected and sealed keys against those who alter them or make them costly.

use countersign_paseto::paserk::{Argon2id, Pbkdf2, ProtectedKey, WorkLimits};
use countersign_paseto::{
    InvalidKey, Key, Local, PaserkError, Public, Secret, SystemRandom, V3, V4,
};

fn key() -> Key<V4, Local> {
    Key::from_bytes(&[7; 32]).unwrap()
}

/// The header, and the data with its byte at `place` altered.
fn altered(text: &str, place: usize) -> String {
    let (header, data) = text.rsplit_once('.').unwrap();
    let mut bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(data).unwrap();
    bytes[place] ^= 1;
    format!(
        "{header}.{}",
        base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes)
    )
}

fn length(text: &str) -> usize {
    base64_simd::URL_SAFE_NO_PAD
        .decoded_length(text.rsplit_once('.').unwrap().1.as_bytes())
        .unwrap()
}

#[test]
fn every_altered_byte_of_a_wrapped_key_is_noticed() {
    let wrapped = key().wrap(&key(), &SystemRandom).unwrap();
    for place in 0..length(&wrapped) {
        let refused = Key::<V4, Local>::unwrap(&altered(&wrapped, place), &key()).map(drop);
        assert_eq!(refused, Err(PaserkError::NotAuthentic), "{place}");
    }
}

#[test]
fn every_altered_byte_of_a_sealed_key_is_noticed() {
    let recipient = Key::<V4, Secret>::generate(&SystemRandom).unwrap();
    let sealed = key().seal(&recipient.public(), &SystemRandom).unwrap();
    for place in 0..length(&sealed) {
        // the top bit of an X25519 coordinate is ignored by the agreement, and authenticated all the same
        let refused = Key::<V4, Local>::unseal(&altered(&sealed, place), &recipient).map(drop);
        assert_eq!(refused, Err(PaserkError::NotAuthentic), "{place}");
    }
    let other = Key::<V4, Secret>::generate(&SystemRandom).unwrap();
    assert_eq!(
        Key::<V4, Local>::unseal(&sealed, &other).map(drop),
        Err(PaserkError::NotAuthentic)
    );
}

#[test]
fn a_truncated_key_is_malformed() {
    let header = "k4.local-wrap.pie.";
    for length in [0, 3, 33, 63] {
        let text = format!(
            "{header}{}",
            base64_simd::URL_SAFE_NO_PAD.encode_to_string(vec![0; length])
        );
        assert_eq!(
            Key::<V4, Local>::unwrap(&text, &key()).map(drop),
            Err(PaserkError::Malformed),
            "{length}"
        );
    }
    let recipient = Key::<V3, Secret>::generate(&SystemRandom).unwrap();
    assert_eq!(
        Key::<V3, Local>::unseal("k3.seal.AAAA", &recipient).map(drop),
        Err(PaserkError::Malformed)
    );
    for text in ["k4.local-pw.", "k4.local-pw.AAAA"] {
        assert_eq!(
            ProtectedKey::<V4, Local>::parse(text).map(drop),
            Err(PaserkError::Malformed)
        );
    }
}

#[test]
fn sealing_takes_a_public_key_and_refuses_a_weak_one() {
    let weak = Key::<V4, Public>::from_bytes(&[0; 32]).unwrap();
    assert_eq!(weak.check(), Err(InvalidKey::Weak));
    assert_eq!(
        key().seal(&weak, &SystemRandom),
        Err(PaserkError::Key(InvalidKey::Weak))
    );
}

#[test]
fn another_password_is_refused() {
    let work = Argon2id {
        memory: 1 << 20,
        passes: 1,
        parallelism: 1,
    };
    let text = key().protect(b"right", work, &SystemRandom).unwrap();
    let unlock = |password: &[u8]| {
        let read = ProtectedKey::<V4, Local>::parse(&text).unwrap();
        read.unlock(password, &WorkLimits::default())
            .map(|key| key.id())
    };
    assert_eq!(unlock(b"right"), Ok(key().id()));
    assert_eq!(unlock(b"wrong"), Err(PaserkError::NotAuthentic));
}

/// A protected key that asks for this much; its tag is never reached.
fn asking(work: &[&[u8]], salt: usize, rest: usize) -> String {
    let data = [vec![0; salt], work.concat(), vec![0; rest]].concat();
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(data)
}

#[test]
fn work_over_the_limits_is_refused_before_it_is_done() {
    let argon2 = |memory: u64, passes: u32, lanes: u32| {
        let work = [
            memory.to_be_bytes().as_slice(),
            &passes.to_be_bytes(),
            &lanes.to_be_bytes(),
        ]
        .concat();
        let text = format!("k4.local-pw.{}", asking(&[&work], 16, 24 + 32 + 32));
        let read = ProtectedKey::<V4, Local>::parse(&text).unwrap();
        read.unlock(b"", &WorkLimits::default()).map(drop)
    };
    let costly = |unit, found, limit| Err(PaserkError::TooCostly { unit, found, limit });
    assert_eq!(
        argon2(4 << 30, 1, 1),
        costly("bytes of memory", 4 << 30, 256 << 20)
    );
    assert_eq!(
        argon2(u64::MAX, 1, 1),
        costly("bytes of memory", u64::MAX, 256 << 20)
    );
    assert_eq!(
        argon2(1 << 20, u32::MAX, 1),
        costly("passes", u32::MAX.into(), 10)
    );
    assert_eq!(argon2(1 << 20, 1, 1 << 20), costly("lanes", 1 << 20, 4));
    for (memory, passes, lanes) in [
        (0, 1, 1),
        (1 << 20, 0, 1),
        (1 << 20, 1, 0),
        ((1 << 20) + 1, 1, 1),
    ] {
        assert_eq!(
            argon2(memory, passes, lanes),
            Err(PaserkError::BadWorkFactor)
        );
    }

    let pbkdf2 = |iterations: u32| {
        let text = format!(
            "k3.local-pw.{}",
            asking(&[&iterations.to_be_bytes()], 32, 16 + 32 + 48)
        );
        let read = ProtectedKey::<V3, Local>::parse(&text).unwrap();
        read.unlock(b"", &WorkLimits::default()).map(drop)
    };
    assert_eq!(
        pbkdf2(2_000_000),
        costly("iterations", 2_000_000, 1_000_000)
    );
    assert_eq!(pbkdf2(0), Err(PaserkError::BadWorkFactor));
    assert_eq!(pbkdf2(1), Err(PaserkError::NotAuthentic));
}

#[test]
fn a_caller_can_raise_the_limits() {
    let key = Key::<V3, Local>::from_bytes(&[7; 32]).unwrap();
    let text = key
        .protect(b"", Pbkdf2 { iterations: 11 }, &SystemRandom)
        .unwrap();
    let unlock = |most: u32| {
        let limits = WorkLimits {
            pbkdf2: Pbkdf2 { iterations: most },
            ..WorkLimits::default()
        };
        ProtectedKey::<V3, Local>::parse(&text)
            .unwrap()
            .unlock(b"", &limits)
            .map(drop)
    };
    assert_eq!(
        unlock(10),
        Err(PaserkError::TooCostly {
            unit: "iterations",
            found: 11,
            limit: 10
        })
    );
    assert_eq!(unlock(11), Ok(()));
}
