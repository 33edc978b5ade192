//! PCRs: which are meant, and what is in them (TPM 2.0 part 2, sections 10.5 and 10.9.7).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::hash::HashAlgorithm;
use super::wire::{Malformed, Reader};

/// PCRs of one or several banks, each bank once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection(Vec<(HashAlgorithm, BTreeSet<u8>)>);

/// The values of PCRs, as somebody showed them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PcrValues(BTreeMap<(HashAlgorithm, u8), Vec<u8>>);

impl Selection {
    /// PCRs of one bank.
    pub fn of(bank: HashAlgorithm, pcrs: impl IntoIterator<Item = u8>) -> Self {
        Self(vec![(bank, pcrs.into_iter().collect())])
    }

    /// `TPML_PCR_SELECTION`.
    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let banks = reader.u32()?;
        if banks > MOST_BANKS {
            return Err(Malformed::Value);
        }
        let mut selection: Vec<(HashAlgorithm, BTreeSet<u8>)> = Vec::new();
        for _ in 0..banks {
            let bank = HashAlgorithm::of_id(reader.u16()?).ok_or(Malformed::Value)?;
            let length = reader.u8()?;
            if length > BITMAP || selection.iter().any(|(other, _)| *other == bank) {
                return Err(Malformed::Value);
            }
            let bitmap = reader.take(length.into())?;
            selection.push((bank, selected(bitmap)));
        }
        Ok(Self(selection))
    }

    /// Each PCR, in the order of a quote's digest.
    fn iter(&self) -> impl Iterator<Item = (HashAlgorithm, u8)> {
        let banks = self.0.iter();
        banks.flat_map(|(bank, pcrs)| pcrs.iter().map(|pcr| (*bank, *pcr)))
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (bank, pcrs)) in self.0.iter().enumerate() {
            let numbers: Vec<String> = pcrs.iter().map(u8::to_string).collect();
            let and = if n == 0 { "" } else { "+" };
            write!(f, "{and}{bank}:{}", numbers.join(","))?;
        }
        Ok(())
    }
}

impl PcrValues {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// These and one more.
    #[must_use]
    pub fn with(mut self, bank: HashAlgorithm, pcr: u8, value: &[u8]) -> Self {
        self.0.insert((bank, pcr), value.to_vec());
        self
    }

    /// The value of a PCR.
    pub fn value(&self, bank: HashAlgorithm, pcr: u8) -> Option<&[u8]> {
        self.0.get(&(bank, pcr)).map(Vec::as_slice)
    }

    /// Each value, by bank and number.
    pub fn iter(&self) -> impl Iterator<Item = (HashAlgorithm, u8, &[u8])> {
        self.0
            .iter()
            .map(|((bank, pcr), value)| (*bank, *pcr, value.as_slice()))
    }

    /// The digest that a quote over `selection` has: nothing unless these are the values of exactly those PCRs.
    pub(super) fn digest(&self, selection: &Selection, hash: HashAlgorithm) -> Option<Vec<u8>> {
        let values: Option<Vec<&[u8]>> = selection
            .iter()
            .map(|(bank, pcr)| {
                self.value(bank, pcr)
                    .filter(|value| value.len() == bank.length())
            })
            .collect();
        let values = values.filter(|values| values.len() == self.0.len())?;
        Some(hash.digest(&values))
    }
}

fn selected(bitmap: &[u8]) -> BTreeSet<u8> {
    let pcrs = (0_u8..).zip(bitmap).flat_map(|(octet, bits)| {
        (0..8).filter_map(move |bit| (bits & (1 << bit) != 0).then_some(octet * 8 + bit))
    });
    pcrs.collect()
}

/// A TPM has a bank for each of its hashes; nobody has more than these.
const MOST_BANKS: u32 = 8;

/// 32 PCRs, more than any TPM has.
const BITMAP: u8 = 4;
