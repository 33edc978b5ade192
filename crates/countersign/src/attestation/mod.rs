//! Evidence in the gateway: which TPMs let their machine in, what a quote is asked with, and what it comes to.

mod credential;
mod question;
mod refusal;
mod rules;
pub(crate) mod wire;

pub(crate) use self::credential::{ProvenTpm, mac};
pub(crate) use self::question::Questions;
pub(crate) use self::refusal::TpmRefusal;
pub(crate) use self::rules::{Appraised, Asked, RootsError, Rules, differences, name_of_ek};
