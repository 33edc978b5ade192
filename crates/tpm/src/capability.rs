//! What a TPM is and can do (TPM2_GetCapability; Part 3, section 30.2).

use std::fmt;

use crate::algorithm::Hash;
use crate::command::{Code, Command};
use crate::error::Error;
use crate::pcr::PcrSelection;
use crate::tpm::Tpm;
use crate::wire::{Malformed, Reader, Writer};

/// What a TPM is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The maker's four letters in the TCG's registry, such as `IFX` or `STM`; a software TPM's are `IBM`.
    pub manufacturer: String,
    /// The maker's own name of the model.
    pub model: String,
    /// The firmware's version, as `MAJOR.MINOR.BUILD.REVISION` in decimal.
    pub firmware: String,
    /// The PCR banks that are allocated.
    pub pcr_banks: Vec<PcrBank>,
    /// The algorithms by their TPM_ALG_ID, ascending.
    pub algorithms: Vec<u16>,
    /// Whether wrong passwords have locked it.
    pub lockout: Lockout,
}

/// A PCR bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcrBank {
    /// Its hash algorithm.
    pub hash: Hash,
    /// Its PCRs, ascending.
    pub pcrs: Vec<u8>,
}

/// The guard against guessing (Part 1, section 17.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lockout {
    /// Whether authorizations that the guard is for are refused now.
    pub is_locked: bool,
    /// Failed tries that are counted now.
    pub failed_tries: u32,
    /// How many lock it.
    pub limit: u32,
    /// After how many seconds without a failure one try is forgotten; 0 is never.
    pub recovery_seconds: u32,
}

impl Lockout {
    pub(crate) fn remedy(&self) -> String {
        let clear = "`tpm2_dictionarylockout --clear-lockout` ends it now";
        match self.recovery_seconds {
            0 => clear.into(),
            seconds => format!("wait {seconds} seconds with the machine on; {clear}"),
        }
    }
}

impl fmt::Display for Lockout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            failed_tries,
            limit,
            recovery_seconds,
            ..
        } = self;
        write!(f, "{failed_tries} of {limit}, ")?;
        match recovery_seconds {
            0 => write!(f, "and none is ever forgotten"),
            seconds => write!(f, "and one is forgotten every {seconds} seconds"),
        }
    }
}

impl Tpm {
    /// What the TPM is and can do.
    ///
    /// # Errors
    ///
    /// When it does not answer as it should.
    pub fn capabilities(&mut self) -> Result<Capabilities, Error> {
        let fixed = self.properties(FIXED)?;
        let text = |numbers: &[u32]| -> String {
            let values = numbers.iter().map(|number| value(&fixed, FIXED + number));
            let bytes: Vec<u8> = values.flat_map(u32::to_be_bytes).collect();
            let printable = bytes.into_iter().filter(u8::is_ascii_graphic);
            printable.map(char::from).collect()
        };
        let [version, build] = FIRMWARE.map(|number| value(&fixed, FIXED + number));
        let halves = |number: u32| (number >> 16, number & 0xffff);
        let ((major, minor), (build, revision)) = (halves(version), halves(build));
        Ok(Capabilities {
            manufacturer: text(&MANUFACTURER),
            model: text(&VENDOR_STRING),
            firmware: format!("{major}.{minor}.{build}.{revision}"),
            pcr_banks: self.pcr_banks()?,
            algorithms: self.algorithms()?,
            lockout: self.lockout()?,
        })
    }

    /// Whether wrong passwords have locked the TPM. Nothing that this crate makes has a password that could.
    ///
    /// # Errors
    ///
    /// When it does not answer as it should.
    pub fn lockout(&mut self) -> Result<Lockout, Error> {
        let variable = self.properties(VARIABLE)?;
        let value = |number| value(&variable, VARIABLE + number);
        Ok(Lockout {
            is_locked: value(PERMANENT) & IN_LOCKOUT != 0,
            failed_tries: value(LOCKOUT_COUNTER),
            limit: value(MAX_AUTH_FAIL),
            recovery_seconds: value(LOCKOUT_INTERVAL),
        })
    }

    /// The handles of what is loaded now: objects and sessions, in a TPM without a resource manager of everybody.
    ///
    /// # Errors
    ///
    /// When it does not answer as it should.
    pub fn loaded_handles(&mut self) -> Result<Vec<u32>, Error> {
        let mut handles = Vec::new();
        for first in [LOADED_SESSIONS, SAVED_SESSIONS, TRANSIENT] {
            handles.extend(self.handles(first)?);
        }
        Ok(handles)
    }

    /// Closes what programs that ended early left open in a TPM that has no resource manager: a simulator's.
    ///
    /// # Errors
    ///
    /// When the TPM does not answer as it should.
    pub fn flush_leftovers(&mut self) -> Result<(), Error> {
        for handle in self.loaded_handles()? {
            self.flush(handle)?;
        }
        Ok(())
    }

    /// The handles from `first` on that are of its kind.
    pub(crate) fn handles(&mut self, first: u32) -> Result<Vec<u32>, Error> {
        self.capability(
            HANDLES,
            first,
            |reader| reader.u32(),
            |last| last.checked_add(1),
        )
    }

    fn pcr_banks(&mut self) -> Result<Vec<PcrBank>, Error> {
        let response = self.run(query(PCRS, 0, 1), &mut [])?;
        let (_more, selection) = response.read(|reader| {
            let (more, capability) = (reader.u8()?, reader.u32()?);
            match capability == PCRS {
                true => Ok((more, PcrSelection::parse(reader)?)),
                false => Err(Malformed::Value),
            }
        })?;
        let banks = selection.banks();
        let banks = banks.map(|(hash, pcrs)| PcrBank {
            hash,
            pcrs: pcrs.collect(),
        });
        Ok(banks.filter(|bank| !bank.pcrs.is_empty()).collect())
    }

    fn algorithms(&mut self) -> Result<Vec<u16>, Error> {
        let parse = |reader: &mut Reader<'_>| {
            let (algorithm, _attributes) = (reader.u16()?, reader.u32()?);
            Ok(algorithm)
        };
        self.capability(ALGORITHMS, 0, parse, |last| {
            last.checked_add(1).map(u32::from)
        })
    }

    fn properties(&mut self, group: u32) -> Result<Vec<(u32, u32)>, Error> {
        let parse = |reader: &mut Reader<'_>| Ok((reader.u32()?, reader.u32()?));
        self.capability(PROPERTIES, group, parse, |(last, _)| last.checked_add(1))
    }

    /// A whole list, which a TPM may give in pieces.
    fn capability<T: Copy>(
        &mut self,
        capability: u32,
        first: u32,
        parse: impl Fn(&mut Reader<'_>) -> Result<T, Malformed>,
        next: impl Fn(T) -> Option<u32>,
    ) -> Result<Vec<T>, Error> {
        let mut list = Vec::new();
        let mut from = Some(first);
        while let Some(property) = from.take().filter(|_| list.len() < MAX_LIST) {
            let response = self.run(query(capability, property, PIECE), &mut [])?;
            let (more, piece) = response.read(|reader| {
                let (more, answered) = (reader.u8()?, reader.u32()?);
                let count = reader.count(MAX_PIECE)?;
                let piece: Result<Vec<T>, _> = (0..count).map(|_| parse(reader)).collect();
                match answered == capability {
                    true => Ok((more != 0, piece?)),
                    false => Err(Malformed::Value),
                }
            })?;
            from = piece.last().copied().filter(|_| more).and_then(&next);
            list.extend(piece);
        }
        Ok(list)
    }
}

fn query(capability: u32, first: u32, count: u32) -> Command {
    let parameters = Writer::new().u32(capability).u32(first).u32(count);
    Command::new(Code::GetCapability, vec![], parameters)
}

fn value(properties: &[(u32, u32)], number: u32) -> u32 {
    let found = properties.iter().find(|(property, _)| *property == number);
    found.map_or(0, |(_, value)| *value)
}

const ALGORITHMS: u32 = 0;
const HANDLES: u32 = 1;
const PCRS: u32 = 5;
const PROPERTIES: u32 = 6;

/// TPM_PT: the numbers below are counted from these two (Part 2, section 6.13).
const FIXED: u32 = 0x100;
const VARIABLE: u32 = 0x200;
const MANUFACTURER: [u32; 1] = [5];
const VENDOR_STRING: [u32; 4] = [6, 7, 8, 9];
const FIRMWARE: [u32; 2] = [11, 12];
const PERMANENT: u32 = 0;
const IN_LOCKOUT: u32 = 1 << 9;
const LOCKOUT_COUNTER: u32 = 14;
const MAX_AUTH_FAIL: u32 = 15;
const LOCKOUT_INTERVAL: u32 = 16;

const LOADED_SESSIONS: u32 = 0x0200_0000;
const SAVED_SESSIONS: u32 = 0x0300_0000;
const TRANSIENT: u32 = 0x8000_0000;

const PIECE: u32 = 64;
/// A response of 4,096 bytes holds no longer list.
const MAX_PIECE: u32 = 1024;
/// No TPM has as many properties, algorithms or handles: what goes on and on ends here.
const MAX_LIST: usize = 4096;
