#![doc = include_str!("../README.md")]

mod address;
mod algorithm;
mod attestation;
mod capability;
mod clock;
mod command;
mod endorsement;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod kdf;
mod nv;
mod pcr;
mod policy;
mod public;
mod quote;
mod response_code;
mod seal;
mod session;
mod storage;
mod tpm;
mod transport;
mod wire;

pub use address::{Address, InvalidAddress};
pub use algorithm::Hash;
pub use attestation::{AttestationKey, AttestationScheme, Credential};
pub use capability::{Capabilities, Lockout, PcrBank};
pub use clock::{Clock, Time};
pub use command::Code;
pub use endorsement::{EndorsementCertificate, EndorsementKey, EndorsementKind};
pub use error::Error;
pub use pcr::{PcrSelection, PcrValue, PcrValues};
pub use quote::Quote;
pub use response_code::{ResponseCode, Subject};
pub use seal::{Sealed, Secret};
pub use tpm::Tpm;
pub use transport::{Device, Simulator, Transport};
pub use wire::Malformed;
