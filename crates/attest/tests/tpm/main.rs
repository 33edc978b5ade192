//! TPM 2.0, seen from outside: quotes of a genuine virtual TPM, of a software TPM with `tpm2-tools` as the second opinion, and of a key
//! in this process where evidence has to be wrong.

// `cfg(test)` tells clippy that the helpers among them are tests too.
#[cfg(test)]
mod azure;
#[cfg(test)]
#[path = "../shared/azure_quote.rs"]
mod azure_quote;
#[cfg(test)]
mod boot;
#[cfg(test)]
mod forge;
#[cfg(test)]
mod log;
#[cfg(test)]
mod quote;
#[cfg(test)]
mod roots;
#[cfg(test)]
mod swtpm;
#[cfg(test)]
mod tools;
