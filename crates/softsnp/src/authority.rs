//! An authority that certifies as AMD does, with RSA of half the length, since keys are made for each run.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_SHA384, RsaKeyPair};
use base64ct::{Base64, Encoding as _};

/// The certificates above every chip's, as AMD's key server hands them out: ASK, then ARK, PEM.
pub fn certificate_chain() -> String {
    pem(&ASK_CERTIFICATE) + &pem(&ARK_CERTIFICATE)
}

/// The SHA-256 of the root's certificate.
pub fn root() -> [u8; 32] {
    let hash = digest(&SHA256, &ARK_CERTIFICATE);
    hash.as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

/// The certificate of a chip's key, with the extensions that are told apart by the last numbers of AMD's identifier.
pub(crate) fn certify(public_key: &[u8], extensions: &[(&[u8], &[u8])]) -> Vec<u8> {
    let extensions: Vec<_> = extensions
        .iter()
        .map(|(id, value)| amd(id, value))
        .collect();
    let extensions = extensions.concat();
    certificate("SEV-Test", "SEV-VCEK", public_key, &extensions, &ASK)
}

static ARK: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).expect("there is randomness"));

static ASK: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).expect("there is randomness"));

static ARK_CERTIFICATE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let public = ARK.public_key().as_der().expect("it is a public key");
    certificate("ARK-Test", "ARK-Test", public.as_ref(), &issuer(), &ARK)
});

static ASK_CERTIFICATE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let public = ASK.public_key().as_der().expect("it is a public key");
    certificate("ARK-Test", "SEV-Test", public.as_ref(), &issuer(), &ARK)
});

fn certificate(
    issuer: &str,
    subject: &str,
    public_key: &[u8],
    extensions: &[u8],
    by: &RsaKeyPair,
) -> Vec<u8> {
    let version = tlv(0xa0, &[&[2, 1, 2]]);
    let validity = b"\x17\x0d250101000000Z\x17\x0d350101000000Z";
    let extensions = tlv(0xa3, &[&tlv(0x30, &[extensions])]);
    let fields: [&[u8]; 8] = [
        &version,
        &[2, 1, 0],
        PSS,
        &name(issuer),
        &tlv(0x30, &[validity]),
        &name(subject),
        public_key,
        &extensions,
    ];
    let signed = tlv(0x30, &fields);
    let mut signature = vec![0; by.public_modulus_len()];
    by.sign(
        &RSA_PSS_SHA384,
        &SystemRandom::new(),
        &signed,
        &mut signature,
    )
    .expect("the buffer has the length of the modulus");
    tlv(0x30, &[&signed, PSS, &tlv(3, &[&[0], &signature])])
}

/// `CN=…`.
fn name(common: &str) -> Vec<u8> {
    let pair = tlv(
        0x30,
        &[&[6, 3, 0x55, 4, 3], &tlv(0x0c, &[common.as_bytes()])],
    );
    tlv(0x30, &[&tlv(0x31, &[&pair])])
}

/// Basic constraints: an issuer of certificates.
fn issuer() -> Vec<u8> {
    let constraints = tlv(4, &[&[0x30, 3, 1, 1, 0xff]]);
    tlv(0x30, &[&[6, 3, 0x55, 0x1d, 0x13, 1, 1, 0xff], &constraints])
}

/// An extension under 1.3.6.1.4.1.3704.1.
fn amd(id: &[u8], value: &[u8]) -> Vec<u8> {
    let oid = tlv(6, &[b"\x2b\x06\x01\x04\x01\x9c\x78\x01", id]);
    tlv(0x30, &[&oid, &tlv(4, &[value])])
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len())
        .expect("no certificate is as long")
        .to_be_bytes();
    let length = match length {
        [0, short @ 0..=0x7f] => vec![short],
        [0, long] => vec![0x81, long],
        [high, low] => vec![0x82, high, low],
    };
    [&[tag], &length[..], &content].concat()
}

/// Lines of 64 letters (RFC 7468, section 2).
fn pem(der: &[u8]) -> String {
    let base64 = Base64::encode_string(der);
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in base64.as_bytes().chunks(64) {
        text += &String::from_utf8_lossy(line);
        text += "\n";
    }
    text + "-----END CERTIFICATE-----\n"
}

/// RSASSA-PSS with SHA-384 and a salt of 48 bytes, the trailer field written out.
const PSS: &[u8] = b"\x30\x46\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x39\
    \xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d\
    \x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xa2\x03\x02\x01\x30\xa3\x03\x02\x01\x01";
