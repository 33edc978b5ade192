//! The one genuine quote at hand: of an Azure VM's virtual TPM, with its key.

use countersign_attest::tpm::{AttestationKey, HashAlgorithm, PcrValues, Quote, QuoteError};
use countersign_attest::{Fact, Freshness};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

use crate::tools::vectors;

/// What `az-cvm-vtpm` writes around it with bincode: signature, message, the values of 24 PCRs, each behind its length.
struct Genuine {
    key: AttestationKey,
    signature: Vec<u8>,
    message: Vec<u8>,
    pcrs: Vec<Vec<u8>>,
}

impl Genuine {
    fn read() -> Option<Self> {
        let folder = vectors()?.join("evidence");
        let file = |name: &str| crate::tools::read(&folder.join(name));
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(&file("azure_vtpm_akpub.pem")).unwrap();
        let bytes = file("azure_vtpm_quote.bin");
        let mut rest = bytes.as_slice();
        let (signature, message) = (part(&mut rest), part(&mut rest));
        let (_count, values) = rest.split_first_chunk::<8>().unwrap();
        Some(Self {
            key: AttestationKey::unverified_from_spki(&spki).unwrap(),
            // RSASSA with SHA-256.
            signature: [
                vec![0x00, 0x14, 0x00, 0x0b],
                crate::forge::sized(&signature),
            ]
            .concat(),
            message,
            pcrs: values.chunks(32).map(<[u8]>::to_vec).collect(),
        })
    }

    fn values(&self) -> PcrValues {
        let pcrs = (0..).zip(&self.pcrs);
        pcrs.fold(PcrValues::new(), |values, (pcr, value)| {
            values.with(HashAlgorithm::Sha256, pcr, value)
        })
    }

    fn verify(
        &self,
        message: &[u8],
        signature: &[u8],
        question: &[u8],
    ) -> Result<Freshness, QuoteError> {
        let quote = Quote::parse(message, signature)?;
        let verified = quote.verify(&self.key, Some(question), None, self.values())?;
        let quoter = countersign_attest::tpm::Quoter {
            subject: "azure",
            vendor: None,
        };
        let now = "2025-01-01T00:00:00Z".parse().unwrap();
        let (appraisal, _) =
            countersign_attest::tpm::appraise(quoter, &verified, None, now).unwrap();
        assert_eq!(appraisal.measurements().len(), 24);
        assert_eq!(
            appraisal.facts()["tpm_firmware"],
            Fact::Text("0x2020031200120003".to_owned())
        );
        Ok(appraisal.freshness())
    }
}

/// Bytes behind their length in 64 bits.
fn part(rest: &mut &[u8]) -> Vec<u8> {
    let (length, after) = rest.split_first_chunk::<8>().unwrap();
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap();
    let (part, after) = after.split_at(length);
    *rest = after;
    part.to_vec()
}

#[test]
fn a_genuine_quote_verifies() {
    let Some(genuine) = Genuine::read() else {
        return;
    };
    let verified = genuine.verify(&genuine.message, &genuine.signature, b"challenge");
    assert_eq!(verified, Ok(Freshness::Nonce));
}

#[test]
fn a_genuine_quote_answers_no_other_question() {
    let Some(genuine) = Genuine::read() else {
        return;
    };
    let verified = genuine.verify(&genuine.message, &genuine.signature, b"challengf");
    assert_eq!(verified, Err(QuoteError::AnotherQuestion));
}

#[test]
fn each_byte_of_a_genuine_quote_counts() {
    let Some(genuine) = Genuine::read() else {
        return;
    };
    for at in 0..genuine.message.len() {
        let mut altered = genuine.message.clone();
        altered[at] ^= 1 << (at % 8);
        let verified = genuine.verify(&altered, &genuine.signature, b"challenge");
        assert!(verified.is_err(), "byte {at} of the message");
    }
    for at in 0..genuine.signature.len() {
        let mut altered = genuine.signature.clone();
        altered[at] ^= 1 << (at % 8);
        let verified = genuine.verify(&genuine.message, &altered, b"challenge");
        assert!(verified.is_err(), "byte {at} of the signature");
    }
}

#[test]
fn each_pcr_of_a_genuine_quote_counts() {
    for pcr in 0..24 {
        let Some(mut genuine) = Genuine::read() else {
            return;
        };
        genuine.pcrs[pcr][31] ^= 1;
        let verified = genuine.verify(&genuine.message, &genuine.signature, b"challenge");
        assert_eq!(verified, Err(QuoteError::Values), "PCR {pcr}");
    }
}
