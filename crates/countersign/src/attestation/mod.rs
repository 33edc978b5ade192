//! Evidence in the gateway: which TPMs let their machine in, what evidence is asked with, and what it comes to.

mod credential;
mod folder;
mod guests;
mod question;
mod refusal;
mod rules;
mod standing;
pub(crate) mod wire;

pub(crate) use self::credential::{ProvenTpm, mac};
pub(crate) use self::folder::RootsError;
pub(crate) use self::question::Questions;
pub(crate) use self::refusal::TpmRefusal;
pub(crate) use self::rules::{Appraised, Asked, Rules, name_of_ek};
pub(crate) use self::standing::differences;
