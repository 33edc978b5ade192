//! The event log: what was measured into the PCRs since the machine was started (TCG PC Client Platform Firmware Profile 1.06,
//! section 10; little-endian).

use std::collections::BTreeMap;

use super::hash::HashAlgorithm;
use super::pcr::PcrValues;
use super::wire::Malformed;
use crate::hex;

/// A crypto-agile event log that nobody has compared with a quote.
///
/// ```
/// use countersign_attest::tpm::{EventLog, EventLogError};
///
/// assert!(matches!(EventLog::parse(b"no log"), Err(EventLogError::Malformed { .. })));
/// ```
#[derive(Clone, Debug)]
pub struct EventLog {
    events: Vec<Event>,
    locality: u8,
}

/// Something that was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) pcr: u8,
    pub(super) kind: u32,
    pub(super) digests: BTreeMap<HashAlgorithm, Vec<u8>>,
    pub(super) data: Vec<u8>,
}

/// Why an event log was not read, or says something else than the quote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventLogError {
    /// It is longer than any log.
    #[error("the event log has {found} bytes, the limit is {limit}")]
    TooLong {
        /// Its length.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// It has more events than any log.
    #[error("the event log has more than {limit} events")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// It is no crypto-agile log.
    #[error("the event log is malformed at byte {at}: {why}")]
    Malformed {
        /// Where.
        at: usize,
        /// How.
        why: Malformed,
    },
    /// Its events do not make what was quoted.
    #[error(
        "the event log does not replay: PCR {pcr} of {bank} is {quoted} and its events make {replayed}"
    )]
    DoesNotReplay {
        /// The bank.
        bank: HashAlgorithm,
        /// The PCR.
        pcr: u8,
        /// What was quoted.
        quoted: String,
        /// What the events make.
        replayed: String,
    },
}

impl EventLog {
    /// Reads a log, such as `/sys/kernel/security/tpm0/binary_bios_measurements`.
    ///
    /// # Errors
    ///
    /// It is too long, or no crypto-agile log.
    pub fn parse(bytes: &[u8]) -> Result<Self, EventLogError> {
        if bytes.len() > MAX_LEN {
            return Err(EventLogError::TooLong {
                found: bytes.len(),
                limit: MAX_LEN,
            });
        }
        let mut cursor = Cursor { bytes, at: 0 };
        let banks = cursor.locate(header)?;
        let mut log = Self {
            events: Vec::new(),
            locality: 0,
        };
        while !cursor.is_at_end() {
            if log.events.len() == MOST_EVENTS {
                return Err(EventLogError::TooMany { limit: MOST_EVENTS });
            }
            let event = cursor.locate(|cursor| event(cursor, &banks))?;
            if let Some(locality) = startup_locality(&event) {
                log.locality = locality;
            }
            log.events.push(event);
        }
        Ok(log)
    }

    /// Checks that the events make the quoted values, and gives those whose digests in `bank` went into a quoted PCR.
    ///
    /// All else is nobody's word and is left out: events of PCRs that are not quoted, that are quoted in another bank alone (an event's
    /// digest there vouches for none here), or that are reset while the machine runs.
    pub(super) fn replayed(
        &self,
        quoted: &PcrValues,
        bank: HashAlgorithm,
    ) -> Result<Vec<&Event>, EventLogError> {
        for (bank, pcr, value) in quoted.iter() {
            if pcr >= FIRST_RESETTABLE {
                continue;
            }
            let replayed = self.replay(bank, pcr);
            if replayed != value {
                return Err(EventLogError::DoesNotReplay {
                    bank,
                    pcr,
                    quoted: hex::encode(value),
                    replayed: hex::encode(&replayed),
                });
            }
        }
        let covers = |event: &&Event| {
            event.kind != EV_NO_ACTION
                && event.pcr < FIRST_RESETTABLE
                && event.digests.contains_key(&bank)
                && quoted.value(bank, event.pcr).is_some()
        };
        Ok(self.events.iter().filter(covers).collect())
    }

    /// Section 3.3.3: a PCR starts at zero, PCR 0 with the locality that the TPM was started from in its last byte.
    fn replay(&self, bank: HashAlgorithm, pcr: u8) -> Vec<u8> {
        let mut value = vec![0; bank.length()];
        if let (0, Some(last)) = (pcr, value.last_mut()) {
            *last = self.locality;
        }
        let measured = |event: &&Event| event.pcr == pcr && event.kind != EV_NO_ACTION;
        for event in self.events.iter().filter(measured) {
            if let Some(digest) = event.digests.get(&bank) {
                value = bank.digest(&[&value, digest]);
            }
        }
        value
    }
}

impl Event {
    /// Whether the data is what was measured: of some kinds only a name stands there, which nothing vouches for.
    pub(super) fn is_measured_data(&self, bank: HashAlgorithm, data: &[u8]) -> bool {
        self.digests.get(&bank) == Some(&bank.digest(&[data]))
    }
}

/// Where a log is read.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Reads something, and says where it began if it is not there.
    fn locate<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<T, EventLogError> {
        let at = self.at;
        read(self).map_err(|why| EventLogError::Malformed { at, why })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed::Short)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed::Short)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed::Short)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// Bytes behind their length in 32 bits.
    fn sized(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.u32()?).map_err(|_| Malformed::Value)?;
        self.take(length)
    }
}

/// Section 10.4.5.1: an event of the older form that says which banks the log is about, with the length of their digests.
fn header(cursor: &mut Cursor<'_>) -> Result<BTreeMap<u16, usize>, Malformed> {
    let (pcr, kind) = (cursor.u32()?, cursor.u32()?);
    let _sha1 = cursor.take(20)?;
    let body = cursor.sized()?;
    if pcr != 0 || kind != EV_NO_ACTION {
        return Err(Malformed::Value);
    }
    let mut body = Cursor { bytes: body, at: 0 };
    if body.take(SPEC_ID.len())? != SPEC_ID {
        return Err(Malformed::Value);
    }
    let _class_and_version = body.take(8)?;
    let number = body.u32()?;
    if number == 0 || number > MOST_BANKS {
        return Err(Malformed::Value);
    }
    let mut banks = BTreeMap::new();
    for _ in 0..number {
        let (id, length) = (body.u16()?, usize::from(body.u16()?));
        let known = HashAlgorithm::of_id(id).is_none_or(|hash| hash.length() == length);
        if !known || length > 64 || banks.insert(id, length).is_some() {
            return Err(Malformed::Value);
        }
    }
    let [vendor] = body.array()?;
    body.take(vendor.into())?;
    match body.is_at_end() {
        true => Ok(banks),
        false => Err(Malformed::Trailing),
    }
}

/// Section 10.2.2, `TCG_PCR_EVENT2`.
fn event(cursor: &mut Cursor<'_>, banks: &BTreeMap<u16, usize>) -> Result<Event, Malformed> {
    let (pcr, kind, number) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
    if usize::try_from(number).is_ok_and(|number| number > banks.len()) {
        return Err(Malformed::Value);
    }
    let mut digests = BTreeMap::new();
    for _ in 0..number {
        let id = cursor.u16()?;
        let digest = cursor.take(*banks.get(&id).ok_or(Malformed::Value)?)?;
        if let Some(hash) = HashAlgorithm::of_id(id) {
            digests.insert(hash, digest.to_vec());
        }
    }
    Ok(Event {
        pcr: u8::try_from(pcr).map_err(|_| Malformed::Value)?,
        kind,
        digests,
        data: cursor.sized()?.to_vec(),
    })
}

/// Section 10.4.5.3.
fn startup_locality(event: &Event) -> Option<u8> {
    let [locality] = event.data.strip_prefix(STARTUP_LOCALITY)? else {
        return None;
    };
    (event.kind == EV_NO_ACTION && event.pcr == 0).then_some(*locality)
}

const SPEC_ID: &[u8] = b"Spec ID Event03\0";
const STARTUP_LOCALITY: &[u8] = b"StartupLocality\0";

/// Section 10.4.1.
pub(super) const EV_NO_ACTION: u32 = 3;

/// Logs of servers with many devices have some 100 KB; the kernel keeps 64 KiB on many machines.
const MAX_LEN: usize = 1024 * 1024;

/// Such a log has some 200 events; IMA is not in it.
const MOST_EVENTS: usize = 4096;

const MOST_BANKS: u32 = 8;

/// PCRs from 16 on are reset and extended while the machine runs: the log says nothing of them.
const FIRST_RESETTABLE: u8 = 16;
