//! Exceptions that operators make and end.

use std::sync::Arc;

use jiff::Timestamp;

use super::State;
use crate::store::{ExceptionRecord, StoreError};

impl State {
    /// Adds an exception.
    ///
    /// # Errors
    ///
    /// The store cannot be written; nothing changed.
    pub(crate) async fn add_exception(
        self: &Arc<Self>,
        record: ExceptionRecord,
    ) -> Result<(), StoreError> {
        self.write(|state| async move {
            let revision = state.store.add_exception(&record).await?;
            state.publish(Some(revision), |snapshot| {
                let long_past = ExceptionRecord::long_past(record.created_at);
                let exceptions = Arc::make_mut(&mut snapshot.exceptions);
                exceptions.retain(|one| one.exception.ends >= long_past);
                exceptions.push(record);
            });
            Ok(())
        })
        .await
    }

    /// Ends an exception; false if none of that name was in force.
    ///
    /// # Errors
    ///
    /// The store cannot be written; nothing changed.
    pub(crate) async fn end_exception(
        self: &Arc<Self>,
        id: &str,
        (operator, now): (u32, Timestamp),
    ) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(|state| async move {
            let revision = state.store.end_exception(&id, (operator, now)).await?;
            state.publish(revision, |snapshot| {
                let exceptions = Arc::make_mut(&mut snapshot.exceptions).iter_mut();
                for record in exceptions.filter(|record| record.exception.id == id) {
                    record.exception.ends = now;
                    record.ended_by = Some(operator);
                }
            });
            Ok(revision.is_some())
        })
        .await
    }
}
