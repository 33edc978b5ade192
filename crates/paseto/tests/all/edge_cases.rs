//! Signatures and keys at the edge of their definitions, as Project Wycheproof has them, against versions 2, 3 and 4.

use countersign_paseto::{
    InvalidKey, Key, Opens, Public, Secret, SystemRandom, TokenError, UntrustedToken, V2, V3, V4,
    mint_payload_with_footer,
};
use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use sha2::{Digest, Sha512};

use crate::support::unhex;

const PAYLOAD: &[u8] = b"payload";

/// The token whose signature these bytes are.
fn open<V: Opens<Public>>(key: &Key<V, Public>, signature: &[u8]) -> Result<(), TokenError> {
    let body = base64_simd::URL_SAFE_NO_PAD.encode_to_string([PAYLOAD, signature].concat());
    let token = UntrustedToken::<V, Public>::parse(&format!("{}.public.{body}", V::TOKEN))?;
    token.open(key).map(drop)
}

const NO: Result<(), TokenError> = Err(TokenError::NotAuthentic);

/// What an Ed25519 signature covers (PASETO Common § PAE Definition).
fn message(pieces: &[&[u8]]) -> Vec<u8> {
    let length = |length: usize| u64::try_from(length).unwrap().to_le_bytes();
    let mut message = length(pieces.len()).to_vec();
    for piece in pieces {
        message.extend_from_slice(&length(piece.len()));
        message.extend_from_slice(piece);
    }
    message
}

/// An Ed25519 key of which the test knows the scalar, in both versions that have it.
struct Signer {
    scalar: Scalar,
    v2: Key<V2, Public>,
    v4: Key<V4, Public>,
}

impl Signer {
    fn new() -> Self {
        let secret = Key::<V4, Secret>::generate(&SystemRandom).unwrap();
        let hash = Sha512::digest(&secret.expose_secret()[..32]);
        let scalar = clamp_integer(*hash.first_chunk().unwrap());
        let public = secret.public();
        Self {
            scalar: Scalar::from_bytes_mod_order(scalar),
            v2: Key::from_bytes(&public.to_bytes()).unwrap(),
            v4: public,
        }
    }

    /// S for the R that `nonce` and `bytes` stand for: what RFC 8032 section 5.1.6 computes, if `bytes` encode nonce · B.
    fn s(&self, nonce: Scalar, bytes: &[u8; 32], message: &[u8]) -> Scalar {
        let hashed = [bytes.as_slice(), &self.v4.to_bytes(), message].concat();
        let hash = Sha512::digest(&hashed);
        let challenge = Scalar::from_bytes_mod_order_wide(&hash.into());
        nonce + challenge * self.scalar
    }

    /// Signs in both versions with R written as `bytes`, and changes S.
    fn check(
        &self,
        nonce: Scalar,
        bytes: &[u8; 32],
        change: impl Fn([u8; 32]) -> [u8; 32],
        expected: Result<(), TokenError>,
    ) {
        let signature = |header: &[u8], assertion: &[&[u8]]| {
            let pieces = [&[header, PAYLOAD, b""], assertion].concat();
            let s = self.s(nonce, bytes, &message(&pieces));
            [*bytes, change(s.to_bytes())].concat()
        };
        assert_eq!(
            open(&self.v4, &signature(b"v4.public.", &[b""])),
            expected,
            "{bytes:02x?}"
        );
        assert_eq!(
            open(&self.v2, &signature(b"v2.public.", &[])),
            expected,
            "{bytes:02x?}"
        );
    }
}

fn as_it_is(s: [u8; 32]) -> [u8; 32] {
    s
}

/// `number` plus `addend`, both little-endian.
fn plus(number: [u8; 32], addend: &[u8]) -> [u8; 32] {
    let mut carry = 0;
    let mut sum = number;
    for (digit, addend) in sum.iter_mut().zip(addend) {
        let wide = u16::from(*digit) + u16::from(*addend) + carry;
        [*digit, _] = wide.to_le_bytes();
        carry = wide >> 8;
    }
    sum
}

#[test]
fn an_ed25519_signature_has_one_s() {
    let signer = Signer::new();
    let nonce = Scalar::from(1_234_567_u64);
    let r = (nonce * ED25519_BASEPOINT_POINT).compress().to_bytes();
    signer.check(nonce, &r, as_it_is, Ok(()));
    let order = unhex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    signer.check(nonce, &r, |s| plus(s, &order), NO);
    for bit in [0x80, 0x40, 0x20] {
        let high = |mut s: [u8; 32]| {
            s[31] |= bit;
            s
        };
        signer.check(nonce, &r, high, NO);
    }
    signer.check(nonce, &r, |_| [0; 32], NO);
    signer.check(nonce, &r, |_| [0xff; 32], NO);
}

/// The first is the identity as it is written; the others stand for it too, or for nothing.
#[test]
fn an_ed25519_signature_has_no_r_of_small_order_or_of_a_second_encoding() {
    let signer = Signer::new();
    for r in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "0200000000000000000000000000000000000000000000000000000000000000",
    ] {
        let r = unhex(r).try_into().unwrap();
        signer.check(Scalar::ZERO, &r, as_it_is, NO);
    }
    for point in EIGHT_TORSION {
        signer.check(Scalar::ZERO, &point.compress().to_bytes(), as_it_is, NO);
    }
}

/// With the cofactor multiplied out these verify: RFC 8032 lets a verifier choose, and other libraries choose as we do.
#[test]
fn an_ed25519_signature_that_needs_the_cofactor_is_refused() {
    let signer = Signer::new();
    let nonce = Scalar::from(1_234_567_u64);
    for torsion in EIGHT_TORSION.iter().skip(1) {
        let r = (nonce * ED25519_BASEPOINT_POINT + torsion).compress();
        signer.check(nonce, &r.to_bytes(), as_it_is, NO);
    }
}

#[test]
fn a_signature_of_another_length_is_refused() {
    let secret = Key::<V4, Secret>::generate(&SystemRandom).unwrap();
    let key = secret.public();
    let signature = signature_of(&secret);
    assert_eq!(open(&key, &signature), Ok(()));
    assert_eq!(open(&key, &signature[..63]), NO);
    assert_eq!(open(&key, &[&signature, [0].as_slice()].concat()), NO);
    assert_eq!(open(&key, &[]), NO);
}

/// The signature in a token that carries nothing but the payload.
fn signature_of<V>(secret: &Key<V, Secret>) -> Vec<u8>
where
    V: countersign_paseto::Mints<Secret, Purpose = Public>,
{
    let token = mint_payload_with_footer(secret, PAYLOAD, b"", &SystemRandom).unwrap();
    let (_, body) = token.rsplit_once('.').unwrap();
    let mut body = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(body).unwrap();
    body.split_off(PAYLOAD.len())
}

/// The order of P-384's group.
const ORDER: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";

#[test]
fn an_ecdsa_signature_out_of_range_is_refused() {
    let secret = Key::<V3, Secret>::generate(&SystemRandom).unwrap();
    let key = secret.public();
    let signature = signature_of(&secret);
    let (r, s) = signature.split_at(48);
    assert_eq!(open(&key, &signature), Ok(()));
    let (zero, order) = (vec![0; 48], unhex(ORDER));
    let one = [vec![0; 47], vec![1]].concat();
    let all = vec![0xff; 48];
    for bad in [&zero, &order, &all, &one] {
        assert_eq!(open(&key, &[bad, s].concat()), NO, "r {bad:02x?}");
        assert_eq!(open(&key, &[r, bad].concat()), NO, "s {bad:02x?}");
        assert_eq!(
            open(&key, &[bad.as_slice(), bad].concat()),
            NO,
            "both {bad:02x?}"
        );
    }
    assert_eq!(open(&key, &[s, r].concat()), NO);
    assert_eq!(open(&key, &signature[..95]), NO);
    assert_eq!(open(&key, &[&signature, [0].as_slice()].concat()), NO);
}

/// The specification does not choose between s and -s, and minters make both: an ECDSA token has two texts.
#[test]
fn an_ecdsa_signature_with_its_other_s_is_accepted() {
    let secret = Key::<V3, Secret>::generate(&SystemRandom).unwrap();
    let signature = signature_of(&secret);
    let (r, s) = signature.split_at(48);
    let mut other = unhex(ORDER);
    let mut borrow = 0;
    for (digit, subtrahend) in other.iter_mut().zip(s).rev() {
        let wide = 0x100 + u16::from(*digit) - u16::from(*subtrahend) - borrow;
        [*digit, _] = wide.to_le_bytes();
        borrow = 1 - (wide >> 8);
    }
    assert_eq!(open(&secret.public(), &[r, &other].concat()), Ok(()));
}

#[test]
fn an_ecdsa_signature_in_der_is_refused() {
    let secret = Key::<V3, Secret>::generate(&SystemRandom).unwrap();
    let signature = signature_of(&secret);
    let integer = |number: &[u8]| {
        let padded = [&[0], number].concat();
        [[2, 49].as_slice(), &padded].concat()
    };
    let (r, s) = signature.split_at(48);
    let der = [[0x30, 102].as_slice(), &integer(r), &integer(s)].concat();
    assert_eq!(open(&secret.public(), &der), NO);
    let (_, last) = der.split_at(der.len() - 96);
    assert_eq!(open(&secret.public(), last), NO);
}

#[test]
fn a_p384_point_in_any_form_but_the_compressed_one_is_refused() {
    let public = Key::<V3, Secret>::generate(&SystemRandom)
        .unwrap()
        .public()
        .to_bytes();
    let refused = |bytes: &[u8]| Key::<V3, Public>::from_bytes(bytes).map(drop);
    assert_eq!(refused(&public), Ok(()));
    for form in [0, 1, 4, 5, 6, 7, 0x82] {
        let other = [&[form], &public[1..]].concat();
        assert_eq!(refused(&other), Err(InvalidKey::Invalid), "{form}");
    }
    let wrong_length = |found| {
        Err(InvalidKey::Length {
            expected: 49,
            found,
        })
    };
    let uncompressed = [[4].as_slice(), &public[1..], &public[1..]].concat();
    assert_eq!(refused(&uncompressed), wrong_length(97));
    assert_eq!(refused(&[0]), wrong_length(1));
    assert_eq!(refused(&public[..48]), wrong_length(48));
}

/// The first x is the field's prime, for zero; no point has the others.
#[test]
fn a_p384_x_that_no_point_has_is_refused() {
    for x in [
        "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001",
    ] {
        for form in ["02", "03"] {
            let key = Key::<V3, Public>::from_bytes(&unhex(&format!("{form}{x}")));
            assert_eq!(key.map(drop), Err(InvalidKey::Invalid), "{form}{x}");
        }
    }
}
