//! The crate seen from outside: vectors, hostile inputs, rules, rotation.

// `cfg(test)` tells clippy that the helpers among them are tests too.
#[cfg(test)]
mod claims;
#[cfg(test)]
#[cfg(feature = "draft")]
mod drafts;
#[cfg(test)]
mod edge_cases;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod official;
#[cfg(test)]
mod others;
#[cfg(test)]
mod own;
#[cfg(test)]
mod paserk;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod ring;
#[cfg(test)]
#[cfg(feature = "k1-seal")]
mod rsa_kem;
#[cfg(test)]
mod signer;
#[cfg(test)]
mod support;
