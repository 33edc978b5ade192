#![doc = include_str!("../README.md")]

mod auth;
mod keys;
mod layer;
mod refused;

pub use auth::Auth;
#[cfg(feature = "axum")]
pub use auth::NotVerified;
pub use keys::Keys;
pub use layer::{Verify, VerifyFuture, VerifyLayer};
pub use refused::Refused;
