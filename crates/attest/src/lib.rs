#![doc = include_str!("../README.md")]

mod appraisal;

pub use appraisal::{Appraisal, Fact, Freshness, Measurement, Technology, Unchecked};
