//! Platform configuration registers (Part 3, section 22).

use std::fmt;

use crate::algorithm::Hash;
use crate::command::{Code, Command, Entity};
use crate::error::Error;
use crate::session::Authorization;
use crate::tpm::Tpm;
use crate::wire::{Malformed, Reader, Writer};

/// PCRs of one or more banks, in the order in which a digest over them is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PcrSelection(Vec<(Hash, u32)>);

impl PcrSelection {
    /// PCRs of one bank; those above 23, which no PC has, are left out.
    ///
    /// ```
    /// use countersign_tpm::{Hash, PcrSelection};
    ///
    /// let boot = PcrSelection::new(Hash::Sha256, [0, 2, 4, 7]);
    /// assert_eq!(boot.to_string(), "sha256:0,2,4,7");
    /// ```
    pub fn new(bank: Hash, pcrs: impl IntoIterator<Item = u8>) -> Self {
        Self::default().and(bank, pcrs)
    }

    /// The same, and PCRs of another bank.
    #[must_use]
    pub fn and(mut self, bank: Hash, pcrs: impl IntoIterator<Item = u8>) -> Self {
        let pcrs = pcrs.into_iter().filter(|pcr| *pcr < PCRS);
        let bits = pcrs.fold(0, |bits, pcr| bits | 1 << pcr);
        match self.0.iter_mut().find(|(hash, _)| *hash == bank) {
            Some((_, found)) => *found |= bits,
            None => self.0.push((bank, bits)),
        }
        self
    }

    /// Each bank with its PCRs, ascending.
    pub fn banks(&self) -> impl Iterator<Item = (Hash, impl Iterator<Item = u8> + use<>)> {
        self.0.iter().map(|(hash, bits)| (*hash, indices(*bits)))
    }

    /// Whether no PCR is selected.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|(_, bits)| *bits == 0)
    }

    /// TPML_PCR_SELECTION.
    pub(crate) fn encode(&self, writer: Writer) -> Writer {
        let count = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0
            .iter()
            .fold(writer.u32(count), |writer, (hash, bits)| {
                let [low, middle, high, _] = bits.to_le_bytes();
                writer.u16(hash.id()).u8(3).raw(&[low, middle, high])
            })
    }

    /// TPML_PCR_SELECTION, without banks of algorithms that are not known here.
    pub(crate) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut selection = Self::default();
        for _ in 0..reader.count(MAX_BANKS)? {
            let hash = Hash::from_id(reader.u16()?);
            let size = reader.u8()?;
            let bytes = reader.take(size.into())?;
            let octets = bytes.iter().take(3).zip([0, 8, 16]);
            let bits = octets.fold(0, |bits, (byte, shift)| bits | u32::from(*byte) << shift);
            selection.0.extend(hash.map(|hash| (hash, bits)));
        }
        Ok(selection)
    }

    fn without(&self, values: &[PcrValue]) -> Self {
        let rest = self.0.iter().map(|(hash, bits)| {
            let taken = values.iter().filter(|value| value.bank == *hash);
            let taken = taken.fold(0, |bits, value| bits | 1 << value.index);
            (*hash, bits & !taken)
        });
        Self(rest.filter(|(_, bits)| *bits != 0).collect())
    }

    fn count(&self) -> usize {
        let banks = self.0.iter();
        banks.map(|(_, bits)| indices(*bits).count()).sum()
    }

    fn first_bank(&self) -> Hash {
        self.0.first().map_or(Hash::Sha256, |(hash, _)| *hash)
    }
}

impl fmt::Display for PcrSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (hash, bits)) in self.0.iter().enumerate() {
            let pcrs: Vec<String> = indices(*bits).map(|pcr| pcr.to_string()).collect();
            let separator = if number == 0 { "" } else { "+" };
            write!(f, "{separator}{hash}:{}", pcrs.join(","))?;
        }
        Ok(())
    }
}

/// The value of one PCR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcrValue {
    /// Its bank.
    pub bank: Hash,
    /// Its number.
    pub index: u8,
    /// Its value, as long as the bank's hash.
    pub digest: Vec<u8>,
}

/// The values of a selection, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcrValues(pub Vec<PcrValue>);

impl PcrValues {
    /// The hash over all values: what a quote signs and a policy demands (Part 1, section 15.4).
    pub fn digest(&self, hash: Hash) -> Vec<u8> {
        let pieces: Vec<&[u8]> = self.0.iter().map(|value| value.digest.as_slice()).collect();
        hash.of(&pieces)
    }
}

impl Tpm {
    /// Reads PCRs.
    ///
    /// # Errors
    ///
    /// [`Error::NoPcrBank`] when a bank or a PCR is not there.
    pub fn pcrs(&mut self, selection: &PcrSelection) -> Result<PcrValues, Error> {
        let mut values = Vec::new();
        let mut rest = selection.without(&[]);
        while !rest.is_empty() {
            // A response holds eight values at most.
            let command = Command::new(Code::PcrRead, vec![], rest.encode(Writer::new()));
            let response = self.run(command, &mut [])?;
            let piece = response.read(read_values)?;
            let left = rest.without(&piece);
            if left.count() + piece.len() != rest.count() {
                return Err(response.malformed(Malformed::Value));
            }
            if left == rest {
                let bank = rest.first_bank();
                return Err(Error::NoPcrBank { bank });
            }
            values.extend(piece);
            rest = left;
        }
        Ok(PcrValues(values))
    }

    /// Adds an event's digest to a PCR.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`] when the digest has another length than the bank's hash; when the TPM refuses, as it does for a PCR that is
    /// the firmware's alone.
    pub fn extend_pcr(&mut self, index: u8, bank: Hash, digest: &[u8]) -> Result<(), Error> {
        if digest.len() != bank.length() {
            return Err(Error::TooLong {
                what: "the digest",
                length: digest.len(),
                limit: bank.length(),
            });
        }
        let digests = Writer::new().u32(1).u16(bank.id()).raw(digest);
        self.change_pcr(Code::PcrExtend, index, digests)
    }

    /// Sets a PCR to zero: 16, which is for debugging, and 23, which is for applications.
    ///
    /// # Errors
    ///
    /// When the TPM refuses, as it does for all others.
    pub fn reset_pcr(&mut self, index: u8) -> Result<(), Error> {
        self.change_pcr(Code::PcrReset, index, Writer::new())
    }

    fn change_pcr(&mut self, code: Code, index: u8, parameters: Writer) -> Result<(), Error> {
        let pcr = Entity::named_by_handle(index.into());
        let command = Command::new(code, vec![pcr], parameters);
        self.run(command, &mut [Authorization::Password]).map(drop)
    }
}

/// The response of TPM2_PCR_Read: an update counter, which were read, their values.
fn read_values(reader: &mut Reader<'_>) -> Result<Vec<PcrValue>, Malformed> {
    let _updates = reader.u32()?;
    let selection = PcrSelection::parse(reader)?;
    let selected = selection.banks();
    let selected: Vec<_> = selected
        .flat_map(|(bank, pcrs)| pcrs.map(move |index| (bank, index)))
        .collect();
    let count = reader.count(MAX_VALUES)?;
    if usize::try_from(count) != Ok(selected.len()) {
        return Err(Malformed::Value);
    }
    let value = |(bank, index): (Hash, u8)| match reader.sized()? {
        digest if digest.len() == bank.length() => Ok(PcrValue {
            bank,
            index,
            digest: digest.to_vec(),
        }),
        _ => Err(Malformed::Value),
    };
    selected.into_iter().map(value).collect()
}

fn indices(bits: u32) -> impl Iterator<Item = u8> + use<> {
    (0..PCRS).filter(move |pcr| bits & 1 << pcr != 0)
}

/// The PC Client profile has 24.
const PCRS: u8 = 24;
const MAX_BANKS: u32 = 16;
const MAX_VALUES: u32 = 8;
