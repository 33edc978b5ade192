#![doc = include_str!("../README.md")]

mod appraisal;
pub mod azure;
mod chain;
pub mod dcap;
mod ear;
mod evidence;
mod freshness;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod guest;
mod hex;
mod little_endian;
pub mod nitro;
pub mod snp;
pub mod software;
pub mod tpm;

pub use appraisal::{Appraisal, Fact, Freshness, Measurement, Technology, Unchecked};
pub use chain::{ChainError, RootKeys};
pub use ear::{Ear, Tier, Verifier};
pub use evidence::{Evidence, EvidenceError};
pub use freshness::WrongBinding;
pub use guest::GuestState;
