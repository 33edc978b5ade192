//! The bare primitives of each operation, keys prepared and buffers at hand: what a library on them is never faster than.
//!
//! Public operations are the signature or the scalar multiplications alone, with the point decompressed that a sealed key
//! brings. Local ones and wrapping are randomness, hashes, cipher and base64, over as many bytes as a token has. Keys are
//! fixed: only the question's sizes count.

use std::cell::RefCell;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, ECDH_P384, UnparsedPublicKey};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::encoding::{AsBigEndian, EcPublicKeyCompressedBin};
use aws_lc_rs::hmac::{self, HMAC_SHA384};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, ML_DSA_87, ML_DSA_87_SIGNING, ParsedPublicKey, PqdsaKeyPair,
};
use base64_simd::{Out, URL_SAFE_NO_PAD};
use blake2::Blake2bMac;
use blake2::digest::array::ArraySize;
use blake2::digest::consts::{U24, U32, U56, U64};
use blake2::digest::typenum::{IsLessOrEqual, True};
use blake2::digest::{KeyInit, Mac};
use chacha20::cipher::{KeyIvInit, StreamCipher};
use chacha20::{R20, XChaCha20, hchacha};
use countersign_paseto_peers::{Answer, Library, Question, Refusal};
use curve25519_dalek::MontgomeryPoint;
use ed25519_dalek::{Signature, Verifier, VerifyingKey};

/// AWS-LC, dalek and RustCrypto, whichever is fastest.
pub(crate) struct Floor;

impl Library for Floor {
    fn name(&self) -> &'static str {
        "floor"
    }

    fn prepare(&self, question: &Question) -> Result<Answer, Refusal> {
        let (version, kind) = question.about();
        match (version, kind, question) {
            ("k2", "local", Question::Mint { payload, .. }) => {
                Ok(minting(payload, 16, xchacha20_poly1305()))
            }
            ("k2", "local", Question::Open { key, token, .. }) => {
                xchacha20_poly1305_open(key, token)
            }
            ("k1", "local", Question::Mint { payload, .. }) => Ok(minting(
                payload,
                48,
                salted_aes_256_ctr_hmac(Nonce1::OfPayload),
            )),
            ("k1", "local", Question::Open { token, .. }) => {
                Ok(opening(token, 48, salted_aes_256_ctr_hmac(Nonce1::InToken)))
            }
            ("k3", "local", Question::Mint { payload, .. }) => {
                Ok(minting(payload, 48, aes_256_ctr_hmac()))
            }
            ("k3", "local", Question::Open { token, .. }) => {
                Ok(opening(token, 48, aes_256_ctr_hmac()))
            }
            ("k4", "local", Question::Mint { payload, .. }) => {
                Ok(minting(payload, 32, xchacha20_blake2b()))
            }
            ("k4", "local", Question::Open { token, .. }) => {
                Ok(opening(token, 32, xchacha20_blake2b()))
            }
            ("k2" | "k4", "secret", Question::Mint { payload, .. }) => ed25519_sign(payload.len()),
            ("k2" | "k4", "public", Question::Open { key, token, .. }) => {
                ed25519_verify(key, token)
            }
            ("k3", "secret", Question::Mint { payload, .. }) => p384_sign(payload.len()),
            ("k3", "public", Question::Open { token, .. }) => p384_verify(decoded_len(token) - 96),
            ("k5", "local", Question::Mint { payload, .. }) => {
                Ok(minting(payload, 48, aes_256_ctr_hmac()))
            }
            ("k5", "local", Question::Open { token, .. }) => {
                Ok(opening(token, 48, aes_256_ctr_hmac()))
            }
            ("k5", "secret", Question::Mint { payload, .. }) => ml_dsa_87_sign(payload.len()),
            ("k5", "public", Question::Open { token, .. }) => {
                ml_dsa_87_verify(decoded_len(token) - 4627)
            }
            ("k2" | "k4", "local", Question::Wrap { .. }) => Ok(wrapping(xchacha20_wrap())),
            ("k2" | "k4", "local-wrap", Question::Unwrap { .. }) => {
                Ok(unwrapping(xchacha20_wrap()))
            }
            ("k3", "local", Question::Wrap { .. }) => Ok(wrapping(aes_256_ctr_wrap())),
            ("k3", "local-wrap", Question::Unwrap { .. }) => Ok(unwrapping(aes_256_ctr_wrap())),
            ("k2" | "k4", _, Question::Seal { .. }) => Ok(x25519_twice()),
            ("k2" | "k4", _, Question::Unseal { .. }) => Ok(x25519_once()),
            ("k3", _, Question::Seal { .. }) => p384_ephemeral(),
            ("k3", _, Question::Unseal { .. }) => p384_agree(),
            _ => Err(Refusal::Unsupported),
        }
    }
}

/// Enciphers bytes in place and authenticates them, under the nonce.
type Cipher = Box<dyn Fn(&[u8; 32], &mut [u8])>;

fn minting(payload: &[u8], tag_len: usize, cipher: Cipher) -> Answer {
    let payload = payload.to_vec();
    let body = vec![0; 32 + payload.len() + tag_len];
    let buffers = RefCell::new((body, String::new()));
    Box::new(move |give| {
        let (body, text) = &mut *buffers.borrow_mut();
        let (nonce, rest) = body.split_first_chunk_mut().ok_or(Refusal::Unsupported)?;
        SystemRandom::new().fill(nonce)?;
        let (bytes, _tag) = rest.split_at_mut(payload.len());
        bytes.copy_from_slice(&payload);
        cipher(nonce, bytes);
        text.clear();
        URL_SAFE_NO_PAD.encode_append(&body[..], text);
        give(text.as_bytes());
        Ok(())
    })
}

fn opening(token: &str, tag_len: usize, cipher: Cipher) -> Answer {
    let body = token.split('.').nth(2).unwrap_or_default().to_owned();
    let buffer = RefCell::new(vec![0; decoded_len(token)]);
    Box::new(move |give| {
        let bytes = &mut *buffer.borrow_mut();
        URL_SAFE_NO_PAD.decode(body.as_bytes(), Out::from_slice(bytes))?;
        let (nonce, rest) = bytes.split_first_chunk_mut().ok_or(Refusal::Unsupported)?;
        let end = rest.len() - tag_len;
        let (bytes, _tag) = rest.split_at_mut(end);
        cipher(nonce, bytes);
        give(bytes);
        Ok(())
    })
}

fn decoded_len(token: &str) -> usize {
    let body = token.split('.').nth(2).unwrap_or_default();
    body.len() * 3 / 4
}

/// The pre-authentication encoding's lengths and header, which a local token's tag covers beside nonce and ciphertext.
const FRAME: [u8; 57] = [0; 57];

/// BLAKE2b under a fixed key, `first` absorbed.
fn keyed<N: ArraySize + IsLessOrEqual<U64, Output = True>>(first: &[u8]) -> Blake2bMac<N> {
    let mut mac = Blake2bMac::new_from_slice(&[7; 32]).expect("a key of 32 bytes");
    mac.update(first);
    mac
}

fn xchacha20_blake2b() -> Cipher {
    let encryption = keyed::<U56>(b"paseto-encryption-key");
    let authentication = keyed::<U32>(b"paseto-auth-key-for-aead");
    Box::new(move |nonce, bytes| {
        let split = encryption
            .clone()
            .chain_update(nonce)
            .finalize()
            .into_bytes();
        let key = authentication
            .clone()
            .chain_update(nonce)
            .finalize()
            .into_bytes();
        let (key_of_cipher, rest) = split.split_first_chunk::<32>().expect("56 bytes");
        let nonce_of_cipher = rest.first_chunk::<24>().expect("24 bytes are left");
        let mut cipher = XChaCha20::new(key_of_cipher.into(), nonce_of_cipher.into());
        // groups of four blocks: a lone block takes the cipher as long as four
        let (groups, last) = bytes.as_chunks_mut::<256>();
        cipher.apply_keystream(groups.as_flattened_mut());
        let mut padded = [0; 256];
        padded.split_at_mut(last.len()).0.copy_from_slice(last);
        cipher.apply_keystream(&mut padded);
        last.copy_from_slice(padded.split_at(last.len()).0);
        let mut mac: Blake2bMac<U32> = Blake2bMac::new_from_slice(&key).expect("a key of 32 bytes");
        mac.update(&FRAME);
        mac.update(nonce);
        mac.update(bytes);
        std::hint::black_box(mac.finalize());
    })
}

fn xchacha20_poly1305() -> Cipher {
    Box::new(move |nonce, bytes| {
        let mut mac: Blake2bMac<U24> =
            Blake2bMac::new_from_slice(nonce).expect("a key of 32 bytes");
        mac.update(bytes);
        std::hint::black_box(mac.finalize());
        let first = nonce.first_chunk::<16>().expect("16 of 32 bytes");
        let key = chacha20_poly1305(&[7; 32], first);
        let short = Nonce::assume_unique_for_key([0; 12]);
        let tag = key.seal_in_place_separate_tag(short, Aad::from(FRAME), bytes);
        std::hint::black_box(tag.is_ok());
    })
}

fn chacha20_poly1305(key: &[u8; 32], nonce: &[u8; 16]) -> LessSafeKey {
    let derived = hchacha::<R20>(key.into(), nonce.into());
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &derived).expect("a key of 32 bytes"))
}

/// The question's own token, which has to authenticate.
fn xchacha20_poly1305_open(key: &str, token: &str) -> Result<Answer, Refusal> {
    let key = *decoded(key)?.first_chunk().ok_or(Refusal::Unsupported)?;
    let body = token.split('.').nth(2).unwrap_or_default().to_owned();
    let nonce = *decoded(token)?
        .first_chunk::<24>()
        .ok_or(Refusal::Unsupported)?;
    let authenticated = encoded(&[b"v2.local.", &nonce, b""])?;
    let buffer = RefCell::new(vec![0; decoded_len(token)]);
    Ok(Box::new(move |give| {
        let bytes = &mut *buffer.borrow_mut();
        URL_SAFE_NO_PAD.decode(body.as_bytes(), Out::from_slice(bytes))?;
        let (nonce, sealed) = bytes
            .split_first_chunk_mut::<24>()
            .ok_or(Refusal::Unsupported)?;
        let (first, last) = nonce.split_first_chunk().ok_or(Refusal::Unsupported)?;
        let mut short = [0; 12];
        short.split_at_mut(4).1.copy_from_slice(last);
        let short = Nonce::assume_unique_for_key(short);
        let key = chacha20_poly1305(&key, first);
        give(key.open_in_place(short, Aad::from(&authenticated), sealed)?);
        Ok(())
    }))
}

/// The bytes in the last part of a key or a token without footer.
fn decoded(text: &str) -> Result<Vec<u8>, Refusal> {
    let last = text.rsplit('.').next().unwrap_or_default();
    Ok(URL_SAFE_NO_PAD.decode_to_vec(last)?)
}

fn aes_256_ctr_hmac() -> Cipher {
    let extracted = hmac::Key::new(HMAC_SHA384, &[7; 48]);
    let expand = move |label: &[u8], nonce: &[u8]| {
        let mut block = hmac::Context::with_key(&extracted);
        block.update(label);
        block.update(nonce);
        block.update(&[1]);
        block.sign()
    };
    Box::new(move |nonce, bytes| {
        let split = expand(b"paseto-encryption-key", nonce);
        aes_256_ctr(split.as_ref(), bytes);
        let key = expand(b"paseto-auth-key-for-aead", nonce);
        let mut mac = hmac::Context::with_key(&hmac::Key::new(HMAC_SHA384, key.as_ref()));
        mac.update(&FRAME);
        mac.update(nonce);
        mac.update(bytes);
        std::hint::black_box(mac.sign());
    })
}

/// Enciphers in place under the first 32 bytes of `split`, with the 16 after them as the counter.
fn aes_256_ctr(split: &[u8], bytes: &mut [u8]) {
    let (key, rest) = split.split_first_chunk::<32>().expect("48 bytes");
    let counter = rest.first_chunk::<16>().expect("16 bytes are left");
    let key = UnboundCipherKey::new(&AES_256, key).expect("a key of 32 bytes");
    let cipher = EncryptingKey::ctr(key).expect("AES has a counter mode");
    let context = EncryptionContext::Iv128(FixedLength::from(counter));
    cipher
        .less_safe_encrypt(bytes, context)
        .expect("counter mode takes any length");
}

/// Where the nonce of a token of version 1 comes from.
#[derive(Clone, Copy, PartialEq)]
enum Nonce1 {
    /// Randomness and the payload, hashed.
    OfPayload,
    InToken,
}

/// Of version 1, whose HKDF is salted by the nonce: nothing of it can be prepared.
fn salted_aes_256_ctr_hmac(from: Nonce1) -> Cipher {
    let tag = |key: &[u8], pieces: &[&[u8]]| {
        let mut mac = hmac::Context::with_key(&hmac::Key::new(HMAC_SHA384, key));
        pieces.iter().for_each(|piece| mac.update(piece));
        mac.sign()
    };
    Box::new(move |nonce, bytes| {
        if from == Nonce1::OfPayload {
            std::hint::black_box(tag(nonce, &[bytes]));
        }
        let (salt, rest) = nonce.split_at(16);
        let extracted = tag(salt, &[&[7; 32]]);
        let extracted = hmac::Key::new(HMAC_SHA384, extracted.as_ref());
        let expand = |label: &[u8]| {
            let mut block = hmac::Context::with_key(&extracted);
            block.update(label);
            block.update(&[1]);
            block.sign()
        };
        let key = expand(b"paseto-encryption-key");
        let (key, _) = key.as_ref().split_at(32);
        aes_256_ctr(&[key, rest].concat(), bytes);
        let key = expand(b"paseto-auth-key-for-aead");
        let (key, _) = key.as_ref().split_at(32);
        std::hint::black_box(tag(key, &[&FRAME, nonce, bytes]));
    })
}

/// As long as what the signature of a token with such a payload covers.
fn message(payload_len: usize) -> Vec<u8> {
    vec![7; FRAME.len() + payload_len]
}

fn ed25519_sign(payload_len: usize) -> Result<Answer, Refusal> {
    let (pair, message) = (
        Ed25519KeyPair::from_seed_unchecked(&[7; 32])?,
        message(payload_len),
    );
    Ok(Box::new(move |give| {
        give(pair.sign(&message).as_ref());
        Ok(())
    }))
}

/// The question's own key and signature: how long the verification of one takes depends on its digits.
fn ed25519_verify(key: &str, token: &str) -> Result<Answer, Refusal> {
    let point = VerifyingKey::try_from(decoded(key)?.as_slice())?;
    let body = decoded(token)?;
    let (payload, signature) = body.split_last_chunk::<64>().ok_or(Refusal::Unsupported)?;
    let mut pieces: Vec<&[u8]> = vec![token.split_at("v4.public.".len()).0.as_bytes(), payload];
    pieces.resize(if key.starts_with("k4") { 4 } else { 3 }, b"");
    let message = encoded(&pieces)?;
    let signature = Signature::from_bytes(signature);
    Ok(Box::new(move |_give| {
        Ok(point.verify(&message, &signature)?)
    }))
}

/// The pre-authentication encoding of `pieces`.
fn encoded(pieces: &[&[u8]]) -> Result<Vec<u8>, Refusal> {
    let mut message = u64::try_from(pieces.len())?.to_le_bytes().to_vec();
    for piece in pieces {
        message.extend_from_slice(&u64::try_from(piece.len())?.to_le_bytes());
        message.extend_from_slice(piece);
    }
    Ok(message)
}

fn p384_pair() -> Result<EcdsaKeyPair, Refusal> {
    Ok(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING)?)
}

fn p384_sign(payload_len: usize) -> Result<Answer, Refusal> {
    let (pair, message) = (p384_pair()?, message(payload_len + 49));
    Ok(Box::new(move |give| {
        give(pair.sign(&SystemRandom::new(), &message)?.as_ref());
        Ok(())
    }))
}

fn p384_verify(payload_len: usize) -> Result<Answer, Refusal> {
    let (pair, message) = (p384_pair()?, message(payload_len + 49));
    let signature = pair.sign(&SystemRandom::new(), &message)?;
    let key = ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, pair.public_key().as_ref())?;
    Ok(Box::new(move |_give| {
        Ok(key.verify_sig(&message, signature.as_ref())?)
    }))
}

fn ml_dsa_87_sign(payload_len: usize) -> Result<Answer, Refusal> {
    let pair = PqdsaKeyPair::from_seed(&ML_DSA_87_SIGNING, &[7; 32])?;
    let message = message(payload_len + 2592);
    Ok(Box::new(move |give| {
        let mut signature = [0; 4627];
        pair.sign(&message, &mut signature)?;
        give(&signature);
        Ok(())
    }))
}

fn ml_dsa_87_verify(payload_len: usize) -> Result<Answer, Refusal> {
    let pair = PqdsaKeyPair::from_seed(&ML_DSA_87_SIGNING, &[7; 32])?;
    let message = message(payload_len + 2592);
    let mut signature = [0; 4627];
    pair.sign(&message, &mut signature)?;
    let key = ParsedPublicKey::new(&ML_DSA_87, pair.public_key().as_ref())?;
    Ok(Box::new(move |_give| {
        Ok(key.verify_sig(&message, &signature)?)
    }))
}

/// The two keys and the tag of a wrapped local key, and the cipher.
type Wrap<const TAG: usize> = Box<dyn Fn(&[u8; 32], &mut [u8]) -> [u8; TAG]>;

fn aes_256_ctr_wrap() -> Wrap<48> {
    let wrapping = hmac::Key::new(HMAC_SHA384, &[7; 32]);
    Box::new(move |nonce, key| {
        let derive = |first: u8| {
            let mut mac = hmac::Context::with_key(&wrapping);
            mac.update(&[first]);
            mac.update(nonce);
            mac.sign()
        };
        aes_256_ctr(derive(0x80).as_ref(), key);
        let authentication = derive(0x81);
        let (authentication, _) = authentication.as_ref().split_at(32);
        let mut mac = hmac::Context::with_key(&hmac::Key::new(HMAC_SHA384, authentication));
        mac.update(b"k3.local-wrap.pie.");
        mac.update(nonce);
        mac.update(key);
        *mac.sign().as_ref().first_chunk().expect("48 bytes")
    })
}

fn xchacha20_wrap() -> Wrap<32> {
    let (encryption, authentication) = (keyed::<U56>(&[0x80]), keyed::<U32>(&[0x81]));
    Box::new(move |nonce, key| {
        let split = encryption
            .clone()
            .chain_update(nonce)
            .finalize()
            .into_bytes();
        let authentication = authentication
            .clone()
            .chain_update(nonce)
            .finalize()
            .into_bytes();
        let (key_of_cipher, rest) = split.split_first_chunk::<32>().expect("56 bytes");
        let nonce_of_cipher = rest.first_chunk::<24>().expect("24 bytes are left");
        XChaCha20::new(key_of_cipher.into(), nonce_of_cipher.into()).apply_keystream(key);
        let mut mac: Blake2bMac<U32> =
            Blake2bMac::new_from_slice(&authentication).expect("a key of 32 bytes");
        mac.update(b"k4.local-wrap.pie.");
        mac.update(nonce);
        mac.update(key);
        mac.finalize().into_bytes().into()
    })
}

fn wrapping<const TAG: usize>(wrap: Wrap<TAG>) -> Answer {
    Box::new(move |give| {
        let (mut nonce, mut key) = ([0; 32], [9; 32]);
        SystemRandom::new().fill(&mut nonce)?;
        let tag = wrap(&nonce, &mut key);
        let mut text = [0; 160];
        let bytes = [tag.as_slice(), &nonce, &key].concat();
        give(URL_SAFE_NO_PAD.encode(&bytes, Out::from_slice(&mut text)));
        Ok(())
    })
}

fn unwrapping<const TAG: usize>(wrap: Wrap<TAG>) -> Answer {
    let text = URL_SAFE_NO_PAD.encode_to_string(vec![9; TAG + 64]);
    Box::new(move |give| {
        let mut bytes = [0; 112];
        URL_SAFE_NO_PAD.decode(text.as_bytes(), Out::from_slice(&mut bytes))?;
        let (nonce, rest) = bytes.split_first_chunk_mut().ok_or(Refusal::Unsupported)?;
        wrap(nonce, rest.split_at_mut(32).0);
        give(&bytes);
        Ok(())
    })
}

fn x25519_twice() -> Answer {
    let to = MontgomeryPoint::mul_base_clamped([7; 32]);
    Box::new(move |give| {
        let mut scalar = [0; 32];
        SystemRandom::new().fill(&mut scalar)?;
        let ephemeral = MontgomeryPoint::mul_base_clamped(scalar);
        give(to.mul_clamped(scalar).as_bytes());
        give(ephemeral.as_bytes());
        Ok(())
    })
}

fn x25519_once() -> Answer {
    let ephemeral = MontgomeryPoint::mul_base_clamped([7; 32]);
    Box::new(move |give| {
        give(ephemeral.mul_clamped([9; 32]).as_bytes());
        Ok(())
    })
}

fn p384_ephemeral() -> Result<Answer, Refusal> {
    let to = p384_point()?;
    let to = agreement::ParsedPublicKey::try_from(UnparsedPublicKey::new(&ECDH_P384, to))?;
    Ok(Box::new(move |give| {
        let secret = agreement::PrivateKey::generate(&ECDH_P384)?;
        give(secret.compute_public_key()?.as_ref());
        agree(&secret, to.clone(), give)
    }))
}

fn p384_agree() -> Result<Answer, Refusal> {
    let secret = agreement::PrivateKey::generate(&ECDH_P384)?;
    let to = p384_point()?;
    Ok(Box::new(move |give| {
        agree(&secret, UnparsedPublicKey::new(&ECDH_P384, &to), give)
    }))
}

/// In compressed form.
fn p384_point() -> Result<Vec<u8>, Refusal> {
    let point = agreement::PrivateKey::generate(&ECDH_P384)?.compute_public_key()?;
    let compressed: EcPublicKeyCompressedBin<'_> = point.as_be_bytes()?;
    Ok(compressed.as_ref().to_vec())
}

fn agree(
    secret: &agreement::PrivateKey,
    to: impl TryInto<agreement::ParsedPublicKey>,
    give: &mut dyn FnMut(&[u8]),
) -> Result<(), Refusal> {
    agreement::agree(secret, to, Refusal::Unsupported, |shared| {
        give(shared);
        Ok(())
    })
}
