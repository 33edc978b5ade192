//! Evidence of confidential VMs and enclaves, seen from outside: what real hardware made, and what was altered in it.

// `cfg(test)` tells clippy that the helpers among them are tests too.
#[cfg(test)]
mod azure;
#[cfg(test)]
#[path = "../shared/azure_quote.rs"]
mod azure_quote;
#[cfg(test)]
mod dcap;
#[cfg(test)]
mod evidence;
#[cfg(test)]
mod guest;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod nitro;
#[cfg(test)]
mod nitro_variants;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod snp;
#[cfg(test)]
mod snp_variants;
#[cfg(test)]
mod software;
#[cfg(test)]
mod support;
