//! A processor: the key that its firmware signs with, and what it signs of a guest (SEV-SNP ABI Specification, 56860, table 23).

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

use crate::authority::certify;

/// A processor's firmware, and the key that signs with it.
#[derive(Debug)]
pub struct Processor {
    key: EcdsaKeyPair,
    certificate: Vec<u8>,
}

/// What a report says of a guest.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// Each byte of its launch measurement.
    pub measurement: u8,
    /// Whether its host may debug it.
    pub debug: bool,
}

impl Processor {
    /// A Milan of the firmware that [`Guest::report`] names.
    pub fn milan() -> Self {
        Self::certified(MILAN)
    }

    /// Certified with these extensions: the last numbers of AMD's identifier, and the value.
    pub fn certified(extensions: &[(&[u8], &[u8])]) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING);
        let key = key.expect("there is randomness");
        let public = key.public_key().as_der().expect("it is a public key");
        let certificate = certify(public.as_ref(), extensions);
        Self { key, certificate }
    }

    /// The certificate of its key, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The report with its signature: two numbers of 48 bytes, the least byte first, each in 72.
    pub fn sign(&self, report: &[u8; 0x2a0]) -> Vec<u8> {
        let signature = self.key.sign(&SystemRandom::new(), report);
        let signature = signature.expect("a key pair signs");
        let mut signed = report.to_vec();
        for number in signature.as_ref().chunks(48) {
            signed.extend(number.iter().rev());
            signed.extend([0; 24]);
        }
        signed.resize(1184, 0);
        signed
    }
}

impl Guest {
    /// Its report over 64 bytes, of version 3.
    pub fn report(&self, report_data: &[u8; 64]) -> [u8; 0x2a0] {
        let parts: [(usize, &[u8]); 8] = [
            (0x00, &[3]),
            // The bit that is always set, and the one for debugging.
            (0x0a, &[if self.debug { 0b1010 } else { 0b0010 }]),
            (0x34, &[1]),
            (0x50, report_data),
            (0x90, &[self.measurement; 48]),
            (0x180, FIRMWARE),
            (0x1a0, &CHIP),
            (0x1e0, FIRMWARE),
        ];
        let mut report = [0; 0x2a0];
        for (at, part) in parts {
            let field = report
                .get_mut(at..)
                .and_then(|rest| rest.get_mut(..part.len()));
            field.expect("it is within a report").copy_from_slice(part);
        }
        report
    }
}

const FIRMWARE: &[u8] = &[3, 0, 0, 0, 0, 0, 8, 20];
const CHIP: [u8; 64] = [0xc1; 64];

const MILAN: &[(&[u8], &[u8])] = &[
    (&[2], b"\x16\x08Milan-B0"),
    (&[3, 1], &[2, 1, 3]),
    (&[3, 2], &[2, 1, 0]),
    (&[3, 3], &[2, 1, 8]),
    (&[3, 8], &[2, 1, 20]),
    (&[4], &CHIP),
];
