#![doc = include_str!("../README.md")]

pub mod binding;
pub mod client;
mod failure;
pub mod group;
pub mod identity;
pub mod profile;
pub mod provider;
pub mod proxy_protocol;
pub mod record;
pub mod registry;
pub mod server;
pub mod stage;
mod table;
pub mod tunnel;
mod verifier;

#[cfg(test)]
mod tests;

pub use failure::in_words;
pub use profile::Profile;
pub use record::ChannelRecord;
pub use server::{Accepted, Acceptor, Refused};
pub use stage::{Rules, Stage};
pub use table::profiles_page;

/// Draws AWS-LC's first random number, which costs 32 to 85 ms of processor time once per process: do it at start,
/// beside other work, so that the first handshake does not wait for it.
pub fn warm_up() {
    let mut byte = [0; 1];
    // A failure here shows again, with someone to tell, at the first key.
    let _ = aws_lc_rs::rand::fill(&mut byte);
}
