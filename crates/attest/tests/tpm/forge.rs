//! A key in this process that quotes as a TPM does, so that what it says can be wrong.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use countersign_attest::tpm::{AttestationKey, HashAlgorithm, PcrValues, Quote};

/// `restricted`, `sign`, `userWithAuth`, `sensitiveDataOrigin`, `fixedParent`, `fixedTPM`.
pub(crate) const ATTESTATION: u32 = 0x0005_0072;

pub(crate) const QUESTION: &[u8] = b"the verifier's question";

/// The signer.
pub(crate) struct Forge(EcdsaKeyPair);

/// What it says: a structure to be changed before it is signed.
#[derive(Clone)]
pub(crate) struct Says {
    pub(crate) magic: u32,
    pub(crate) kind: u16,
    pub(crate) question: Vec<u8>,
    pub(crate) milliseconds: u64,
    pub(crate) resets: u32,
    pub(crate) restarts: u32,
    pub(crate) bank: u16,
    pub(crate) bitmap: Vec<u8>,
    pub(crate) values: Vec<Vec<u8>>,
    /// A PCR of the SHA-384 bank, behind the others.
    pub(crate) sha384: Option<(u8, Vec<u8>)>,
}

impl Says {
    /// A quote over these PCRs of the SHA-256 bank, the lowest first.
    pub(crate) fn over(pcrs: &[(u8, Vec<u8>)]) -> Self {
        let mut bitmap = vec![0; 3];
        for (pcr, _) in pcrs {
            bitmap[usize::from(pcr / 8)] |= 1 << (pcr % 8);
        }
        Self {
            magic: 0xff54_4347,
            kind: 0x8018,
            question: QUESTION.to_vec(),
            milliseconds: 1000,
            resets: 3,
            restarts: 1,
            bank: 0x000b,
            bitmap,
            values: pcrs.iter().map(|(_, value)| value.clone()).collect(),
            sha384: None,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_be_bytes().to_vec();
        out.extend(self.kind.to_be_bytes());
        out.extend(sized(&[0; 34]));
        out.extend(sized(&self.question));
        out.extend(self.milliseconds.to_be_bytes());
        out.extend(self.resets.to_be_bytes());
        out.extend(self.restarts.to_be_bytes());
        out.push(1);
        out.extend([0; 8]);
        let mut values = self.values.concat();
        let banks = 1 + u32::from(self.sha384.is_some());
        out.extend(banks.to_be_bytes());
        out.extend(self.bank.to_be_bytes());
        out.push(u8::try_from(self.bitmap.len()).unwrap());
        out.extend(&self.bitmap);
        if let Some((pcr, value)) = &self.sha384 {
            out.extend([0x00, 0x0c, 3, 1 << pcr, 0, 0]);
            values.extend(value);
        }
        out.extend(sized(digest(&SHA256, &values).as_ref()));
        out
    }
}

impl Forge {
    pub(crate) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// `TPMT_PUBLIC` with these attributes.
    pub(crate) fn public(&self, attributes: u32) -> Vec<u8> {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        let mut out = vec![0x00, 0x23, 0x00, 0x0b];
        out.extend(attributes.to_be_bytes());
        out.extend(sized(&[]));
        // No symmetric algorithm, ECDSA with SHA-256, P-256, no key derivation.
        out.extend([0x00, 0x10, 0x00, 0x18, 0x00, 0x0b, 0x00, 0x03, 0x00, 0x10]);
        out.extend(sized(x));
        out.extend(sized(y));
        out
    }

    pub(crate) fn key(&self) -> AttestationKey {
        AttestationKey::parse(&self.public(ATTESTATION)).unwrap()
    }

    /// `TPMS_ATTEST` and `TPMT_SIGNATURE`.
    pub(crate) fn sign(&self, says: &Says) -> (Vec<u8>, Vec<u8>) {
        let attest = says.bytes();
        let signature = self.0.sign(&SystemRandom::new(), &attest).unwrap();
        let (r, s) = signature.as_ref().split_at(32);
        (
            attest,
            [vec![0x00, 0x18, 0x00, 0x0b], sized(r), sized(s)].concat(),
        )
    }

    pub(crate) fn quote(&self, says: &Says) -> Quote {
        let (attest, signature) = self.sign(says);
        Quote::parse(&attest, &signature).unwrap()
    }
}

pub(crate) fn values(pcrs: &[(u8, Vec<u8>)]) -> PcrValues {
    pcrs.iter().fold(PcrValues::new(), |values, (pcr, value)| {
        values.with(HashAlgorithm::Sha256, *pcr, value)
    })
}

pub(crate) fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}
