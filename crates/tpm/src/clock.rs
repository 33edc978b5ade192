//! The TPM's clock and random numbers.

use crate::command::{Code, Command};
use crate::error::Error;
use crate::seal::Secret;
use crate::tpm::Tpm;
use crate::wire::{Malformed, Reader, Writer};

/// The clock that quotes carry (TPMS_CLOCK_INFO; Part 1, section 36).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds that the TPM was powered, over its life.
    pub milliseconds: u64,
    /// How often the machine was restarted, since the TPM was cleared.
    pub resets: u32,
    /// How often it was woken from sleep, since its last restart.
    pub restarts: u32,
    /// Whether no higher value was given out before, which an unclean power-off leaves open for a while.
    pub is_safe: bool,
}

impl Clock {
    pub(crate) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            milliseconds: reader.u64()?,
            resets: reader.u32()?,
            restarts: reader.u32()?,
            is_safe: reader.u8()? != 0,
        })
    }
}

/// What TPM2_ReadClock gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Milliseconds since the TPM was switched on.
    pub milliseconds_up: u64,
    /// The clock over its life.
    pub clock: Clock,
}

impl Tpm {
    /// Reads the TPM's clock.
    ///
    /// # Errors
    ///
    /// When the TPM does not answer as it should.
    pub fn time(&mut self) -> Result<Time, Error> {
        let command = Command::new(Code::ReadClock, vec![], Writer::new());
        self.run(command, &mut [])?.read(|reader| {
            Ok(Time {
                milliseconds_up: reader.u64()?,
                clock: Clock::parse(reader)?,
            })
        })
    }

    /// Random bytes of the TPM's own generator. They cross the bus readable: mix them into a generator, do not make them a key.
    ///
    /// # Errors
    ///
    /// When the TPM does not answer as it should.
    pub fn random(&mut self, length: usize) -> Result<Secret, Error> {
        let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(length));
        while bytes.len() < length {
            let wanted = (length - bytes.len()).min(PIECE);
            let wanted = u16::try_from(wanted).unwrap_or(u16::MAX);
            let command = Command::new(Code::GetRandom, vec![], Writer::new().u16(wanted));
            let response = self.run(command, &mut [])?;
            let piece = response.read(Secret::parse)?;
            match piece.expose_secret() {
                piece if (1..=wanted.into()).contains(&piece.len()) => bytes.extend(piece),
                _ => return Err(response.malformed(Malformed::Value)),
            }
        }
        Ok(Secret::new(std::mem::take(&mut bytes)))
    }
}

/// The digest of SHA-256: what every TPM gives at once.
const PIECE: usize = 32;
