//! An authority that certifies as AMD does, for what no genuine report at hand shows: debugging, a provider's key, Turin.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PSS_SHA384, RsaKeyPair,
};
use countersign_attest::RootKeys;
use countersign_attest::snp::Endorsement;

/// A processor's firmware, and the key that signs with it.
pub(crate) struct Processor {
    key: EcdsaKeyPair,
    certificate: Vec<u8>,
}

impl Processor {
    /// Certified with these extensions: the last numbers of AMD's identifier, and the value.
    pub(crate) fn certified(extensions: &[(&[u8], &[u8])]) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        let public = key.public_key().as_der().unwrap();
        let extensions: Vec<_> = extensions
            .iter()
            .map(|(id, value)| amd(id, value))
            .collect();
        let certificate = certificate(
            "SEV-Test",
            "SEV-VCEK",
            public.as_ref(),
            &extensions.concat(),
            &ASK,
        );
        Self { key, certificate }
    }

    pub(crate) fn endorsement(&self) -> Endorsement {
        let chain = [&*ASK_CERTIFICATE, &*ARK_CERTIFICATE].map(|der| pem(der));
        Endorsement::new(&self.certificate, chain.concat().as_bytes()).unwrap()
    }

    /// The report with its signature.
    pub(crate) fn sign(&self, report: &[u8; 0x2a0]) -> Vec<u8> {
        let signature = self.key.sign(&SystemRandom::new(), report).unwrap();
        let mut signed = report.to_vec();
        for number in signature.as_ref().chunks(48) {
            signed.extend(number.iter().rev());
            signed.extend([0; 24]);
        }
        signed.resize(1184, 0);
        signed
    }
}

/// The authority's root.
pub(crate) fn roots() -> RootKeys {
    let hash = digest(&SHA256, &ARK_CERTIFICATE);
    RootKeys::none().with("test", hash.as_ref().try_into().unwrap())
}

static ARK: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

static ASK: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

static ARK_CERTIFICATE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let public = ARK.public_key().as_der().unwrap();
    certificate("ARK-Test", "ARK-Test", public.as_ref(), &issuer(), &ARK)
});

static ASK_CERTIFICATE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let public = ASK.public_key().as_der().unwrap();
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
    .unwrap();
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
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let length = match length {
        [0, short @ 0..=0x7f] => vec![short],
        [0, long] => vec![0x81, long],
        [high, low] => vec![0x82, high, low],
    };
    [&[tag], &length[..], &content].concat()
}

fn pem(der: &[u8]) -> String {
    let base64 = base64_simd::STANDARD.encode_to_string(der);
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}

/// RSASSA-PSS with SHA-384 and a salt of 48 bytes, the trailer field written out.
const PSS: &[u8] = b"\x30\x46\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x39\
    \xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d\
    \x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xa2\x03\x02\x01\x30\xa3\x03\x02\x01\x01";
