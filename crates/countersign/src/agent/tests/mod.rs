//! The agent against a gateway that lives in the test.

mod domain;
mod gateway;
mod joining;
mod linking;
mod programs;

pub(super) use domain::Domain;
