//! The audit trail: one [`Event`] for each decision, appended to a file of JSON lines.
//!
//! Logs may change, the trail may not: event names and fields are listed in `docs/audit.md`, and a test keeps that
//! table in step. The trail names keys and tokens by their ids and never holds either.

mod event;
mod trail;

pub(crate) use event::{Event, Operator};
pub(crate) use trail::{Audit, AuditError, WhenUnwritable};
#[cfg(test)]
pub(crate) use trail::{Record, read};
