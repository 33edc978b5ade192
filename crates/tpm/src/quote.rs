//! Quotes: PCRs and the caller's data, signed in the TPM (TPM2_Quote; Part 3, section 18.4).

use crate::algorithm::id;
use crate::attestation::{AttestationKey, WHAT, bounded};
use crate::clock::Clock;
use crate::command::{Code, Command, Response};
use crate::error::Error;
use crate::pcr::{PcrSelection, PcrValues};
use crate::session::Authorization;
use crate::tpm::{Loaded, Tpm};
use crate::wire::{Malformed, Reader, Writer};

/// A quote, with the PCR values that its digest is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// TPMS_ATTEST: the bytes that are signed.
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
    /// The values, in the order of the selection.
    pub pcrs: PcrValues,
    /// When, by the TPM's clock.
    pub clock: Clock,
}

impl Tpm {
    /// Quotes `selection` for the data that the verifier asks with.
    ///
    /// The values are read around it. When a PCR changes in between, the quote's digest is another and it is taken anew.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] when the key is another TPM's, [`Error::NoPcrBank`] when a PCR is not there, [`Error::Unstable`] when PCRs
    /// do not come to rest.
    pub fn quote(
        &mut self,
        key: &AttestationKey,
        qualifying_data: &[u8],
        selection: &PcrSelection,
    ) -> Result<Quote, Error> {
        bounded("the qualifying data", qualifying_data, MAX_QUALIFYING_DATA)?;
        self.with_stored(&key.stored, WHAT, |tpm, _, loaded| {
            for _ in 0..ATTEMPTS {
                let pcrs = tpm.pcrs(selection)?;
                let signed = tpm.sign_pcrs(loaded, qualifying_data, selection)?;
                if signed.digest == pcrs.digest(key.scheme.hash()) {
                    return Ok(Quote {
                        attest: signed.attest,
                        signature: signed.signature,
                        pcrs,
                        clock: signed.clock,
                    });
                }
            }
            Err(Error::Unstable { attempts: ATTEMPTS })
        })
    }

    fn sign_pcrs(
        &mut self,
        key: &Loaded,
        qualifying_data: &[u8],
        selection: &PcrSelection,
    ) -> Result<Signed, Error> {
        let parameters = Writer::new().sized(qualifying_data).u16(id::NULL);
        let parameters = selection.encode(parameters);
        let command = Command::new(Code::Quote, vec![key.entity()], parameters);
        let response: Response = self.run(command, &mut [Authorization::Password])?;
        let signed = response.read(Signed::parse)?;
        match signed.extra_data == qualifying_data {
            true => Ok(signed),
            false => Err(response.malformed(Malformed::Value)),
        }
    }
}

/// What the TPM gives back.
struct Signed {
    attest: Vec<u8>,
    signature: Vec<u8>,
    extra_data: Vec<u8>,
    clock: Clock,
    digest: Vec<u8>,
}

impl Signed {
    fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let attest = reader.sized()?;
        let signature = reader.rest().to_vec();
        let mut inner = Reader::new(attest);
        let (magic, kind) = (inner.u32()?, inner.u16()?);
        if (magic, kind) != (GENERATED, QUOTE) {
            return Err(Malformed::Value);
        }
        let _signer = inner.sized()?;
        let extra_data = inner.sized()?.to_vec();
        let clock = Clock::parse(&mut inner)?;
        let _firmware = inner.u64()?;
        let _selection = PcrSelection::parse(&mut inner)?;
        let digest = inner.sized()?.to_vec();
        inner.finish()?;
        Ok(Self {
            attest: attest.to_vec(),
            signature,
            extra_data,
            clock,
            digest,
        })
    }
}

const ATTEMPTS: u32 = 5;
/// The largest digest: what TPM2B_DATA holds for sure.
const MAX_QUALIFYING_DATA: usize = 64;
/// TPM_GENERATED_VALUE: no key of a TPM signs bytes of others that begin so.
const GENERATED: u32 = 0xff54_4347;
/// TPM_ST_ATTEST_QUOTE.
const QUOTE: u16 = 0x8018;
