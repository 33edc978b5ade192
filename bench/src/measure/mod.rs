//! One module for each kind of measurement. Each takes one value of each cell in a call, so that a round holds all ways one
//! after the other and what the machine does meanwhile hits them alike.

pub(crate) mod attestation;
pub(crate) mod bulk;
pub(crate) mod handshake;
pub(crate) mod http;
pub(crate) mod memory;
pub(crate) mod start;
pub(crate) mod stream;

use std::time::Duration;

use crate::figures::quantile;

/// The median and the 99th percentile of durations, in microseconds.
pub(crate) fn microseconds(durations: &[Duration]) -> Option<(f64, f64)> {
    let mut values: Vec<_> = durations.iter().map(|d| d.as_secs_f64() * 1e6).collect();
    values.sort_by(f64::total_cmp);
    Some((quantile(&values, 0.5)?, quantile(&values, 0.99)?))
}
