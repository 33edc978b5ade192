//! The one genuine quote at hand: of an Azure VM's virtual TPM, with its key.

use countersign_attest::tpm::{
    AttestationKey, HashAlgorithm, PcrValues, Quote, QuoteError, VerifiedQuote,
};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

/// What `az-cvm-vtpm` writes around it with bincode: signature, message, the values of 24 PCRs, each behind its length.
pub(crate) struct Genuine {
    /// The key's SubjectPublicKeyInfo in DER.
    pub(crate) spki: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) message: Vec<u8>,
    pub(crate) pcrs: Vec<Vec<u8>>,
}

impl Genuine {
    /// From what its two files hold.
    pub(crate) fn read(key: &[u8], quote: &[u8]) -> Self {
        let mut rest = quote;
        let (signature, message) = (part(&mut rest), part(&mut rest));
        let (_count, values) = rest.split_first_chunk::<8>().unwrap();
        let length = u16::try_from(signature.len()).unwrap().to_be_bytes();
        Self {
            spki: SubjectPublicKeyInfoDer::from_pem_slice(key)
                .unwrap()
                .to_vec(),
            // RSASSA with SHA-256.
            signature: [&[0x00, 0x14, 0x00, 0x0b][..], &length, &signature].concat(),
            message,
            pcrs: values.chunks(32).map(<[u8]>::to_vec).collect(),
        }
    }

    pub(crate) fn verify(&self, question: Option<&[u8]>) -> Result<VerifiedQuote, QuoteError> {
        let key = AttestationKey::unverified_from_spki(&self.spki).unwrap();
        let quote = Quote::parse(&self.message, &self.signature)?;
        quote.verify(&key, question, None, self.values())
    }

    pub(crate) fn values(&self) -> PcrValues {
        let values = (0..).zip(&self.pcrs);
        values.fold(PcrValues::new(), |values, (pcr, value)| {
            values.with(HashAlgorithm::Sha256, pcr, value)
        })
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
