//! The built binary as gateway and agent, operated through its command line, with real programs as clients and services.
//!
//! Everything runs on loopback ports and folders of its own and is ended with the test that started it. A test whose program is
//! not installed prints that it is skipped; with `CI=true` or `COUNTERSIGN_REQUIRE_ALL=1` it fails. `./test` installs them all.

#[cfg(test)]
mod acme;
#[cfg(test)]
mod agentless;
#[cfg(test)]
mod chromium;
#[cfg(test)]
mod classical;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod configuration;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod floods;
#[cfg(test)]
mod grpc;
#[cfg(test)]
mod guest;
#[cfg(test)]
mod handshake;
#[cfg(test)]
mod hsm;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod joining;
#[cfg(test)]
mod local;
#[cfg(test)]
mod nginx;
#[cfg(test)]
mod operation;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod redis;
#[cfg(test)]
mod services;
#[cfg(test)]
mod ssh;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tpm;
#[cfg(test)]
mod web;
#[cfg(test)]
mod websocket;
