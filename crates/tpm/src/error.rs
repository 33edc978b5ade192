//! Why something did not work, and what to do about it.

use std::io;
use std::time::Duration;

use crate::address::Address;
use crate::algorithm::Hash;
use crate::capability::Lockout;
use crate::command::Code;
use crate::response_code::ResponseCode;
use crate::wire::Malformed;

/// Why the TPM did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no TPM at the address, or it may not be used.
    #[error("cannot open the TPM at `{address}`: {source}")]
    Open {
        /// Where it was sought.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// The way to the TPM broke.
    #[error("the TPM did not answer {command}: {source}")]
    Transport {
        /// What it was asked.
        command: Code,
        /// What the system said.
        source: io::Error,
    },
    /// The TPM, or what stands between, sent bytes that are no response.
    #[error("the TPM's response to {command} cannot be read: {source}")]
    Malformed {
        /// What it was asked.
        command: Code,
        /// In which way.
        source: Malformed,
    },
    /// A response or its HMAC was altered on its way: something sits between TPM and processor.
    #[error("the response to {command} was altered on its way from the TPM")]
    Altered {
        /// What it was asked.
        command: Code,
    },
    /// The TPM refused.
    #[error("the TPM refused {command}: {code}")]
    Refused {
        /// What it was asked.
        command: Code,
        /// What it said.
        code: ResponseCode,
    },
    /// The TPM said again and again that it is busy.
    #[error("the TPM was too busy for {command} {attempts} times in {waited:?}: {code}")]
    Busy {
        /// What it was asked.
        command: Code,
        /// What it said the last time.
        code: ResponseCode,
        /// How often it was asked.
        attempts: u32,
        /// How long was waited in all.
        waited: Duration,
    },
    /// The TPM takes no authorization for a while, since there were too many wrong ones.
    #[error("the TPM refused {command}: it is locked after too many failed tries, {lockout}")]
    LockedOut {
        /// What it was asked.
        command: Code,
        /// How it stands.
        lockout: Lockout,
    },
    /// A hierarchy has a password, which this client does not know.
    #[error("the TPM refused {command}: the {hierarchy} hierarchy has a password")]
    HierarchyPassword {
        /// What it was asked.
        command: Code,
        /// Which: `owner` or `endorsement`.
        hierarchy: &'static str,
    },
    /// A key or a sealed secret belongs to another TPM, or to this one before it was cleared.
    #[error("this {what} was made by another TPM, or by this one before it was cleared")]
    Foreign {
        /// `attestation key` or `sealed secret`.
        what: &'static str,
    },
    /// A secret was sealed to PCR values that the machine does not have now.
    #[error("the secret is sealed to other values of {pcrs} than the machine has now")]
    PcrsChanged {
        /// Which registers.
        pcrs: String,
    },
    /// PCRs changed each time between their reading and the quote.
    #[error("the PCRs changed during each of {attempts} quotes")]
    Unstable {
        /// How many quotes were taken.
        attempts: u32,
    },
    /// The TPM keeps no such PCRs.
    #[error("the TPM has no PCR bank `{bank}` with all the PCRs asked for")]
    NoPcrBank {
        /// The hash algorithm of the bank.
        bank: Hash,
    },
    /// The credential was made for another endorsement key or attestation key.
    #[error("the credential was not made for this attestation key and this TPM's endorsement key")]
    ForeignCredential,
    /// What the caller gave is too long for a TPM.
    #[error("{what} is {length} bytes long: a TPM takes {limit} at most")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// Its length.
        length: usize,
        /// The longest there may be.
        limit: usize,
    },
    /// Saved bytes are no key or sealed secret of this crate.
    #[error("the saved {what} cannot be read: {source}")]
    Saved {
        /// `attestation key` or `sealed secret`.
        what: &'static str,
        /// In which way.
        source: Malformed,
    },
    /// A primitive failed: no randomness, or a public key of the TPM that is not on its curve.
    #[error("a cryptographic operation failed")]
    Cryptography,
}

impl Error {
    /// What to do about it, where there is something: a sentence without a full stop.
    pub fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::Open { address, source } => return opening(address, source.kind()),
            Self::LockedOut { lockout, .. } => lockout.remedy(),
            Self::HierarchyPassword { hierarchy: "owner", .. } => {
                "keep a storage root key (ECC P-256, the standard template) at 0x81000001, for which no password is needed".into()
            }
            Self::HierarchyPassword { .. } => {
                "remove the endorsement hierarchy's password: `tpm2_changeauth -c endorsement -p OLD`".into()
            }
            Self::Foreign { .. } => "enrol the machine again".into(),
            Self::PcrsChanged { .. } => {
                "start the software that it was sealed under, or seal it anew".into()
            }
            Self::NoPcrBank { bank } => format!(
                "choose another bank, or allocate it and restart: `tpm2_pcrallocate {bank}:all`"
            ),
            Self::Altered { .. } => "look for hardware between the TPM and the board".into(),
            Self::Refused { code, .. } if code.is_full() => {
                "use `/dev/tpmrm0`, which has a resource manager, or flush what others left: `tpm2_flushcontext -t -l -s`".into()
            }
            Self::Refused { code, .. } if code.name() == Some("FAILURE") => {
                "restart the machine; a TPM that fails its self-test again is broken".into()
            }
            Self::Busy { .. } => "wait until its self-test or another program is done".into(),
            _ => return None,
        })
    }
}

fn opening(address: &Address, kind: io::ErrorKind) -> Option<String> {
    Some(match (address, kind) {
        (Address::Device(path), io::ErrorKind::PermissionDenied) => format!(
            "add the user to the group of `{}`, often `tss`",
            path.display()
        ),
        (Address::Device(_), io::ErrorKind::NotFound) => {
            "switch the TPM on in the firmware's settings, or name another device".into()
        }
        (Address::Device(_), io::ErrorKind::ResourceBusy) => {
            "another program holds it: use `/dev/tpmrm0`".into()
        }
        (Address::SwtpmTcp(_) | Address::SwtpmUnix(_), _) => {
            "start `swtpm socket --tpm2 --server …`".into()
        }
        _ => return None,
    })
}
