//! Signs SEV-SNP reports as a processor's firmware does, under an authority of its own, for tests.
//!
//! [`Processor`] signs what it is given; [`Device`] answers programs on this machine with reports of one guest.

mod authority;
mod device;
mod processor;

pub use authority::{certificate_chain, root};
pub use device::Device;
pub use processor::{Guest, Processor};
