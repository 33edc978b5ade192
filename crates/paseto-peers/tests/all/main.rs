//! countersign-paseto against the other libraries.

// `cfg(test)` tells clippy that the helpers among them are tests too.
#[cfg(test)]
mod defects;
#[cfg(test)]
mod round_trips;
#[cfg(test)]
mod support;
