//! Modules as they are shipped: each test has one with a token of its own.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod ml_dsa;
mod softhsm;
mod support;
