#![doc = include_str!("../README.md")]

mod appraisal;
pub mod azure;
mod chain;
pub mod dcap;
mod freshness;
mod hex;
mod little_endian;
pub mod nitro;
pub mod snp;

pub use appraisal::{Appraisal, Fact, Freshness, Measurement, Technology, Unchecked};
pub use chain::{ChainError, RootKeys};
pub use freshness::WrongBinding;
