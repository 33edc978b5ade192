//! Bearer tokens in the state.

use std::sync::Arc;

use super::State;
use crate::store::{BearerToken, Revocation, StoreError};

impl State {
    /// Remembers a bearer token that is about to be handed out.
    ///
    /// # Errors
    ///
    /// The store cannot be written; nothing changed.
    pub(crate) async fn issue_bearer(
        self: &Arc<Self>,
        token: BearerToken,
    ) -> Result<(), StoreError> {
        self.write(|state| async move {
            let revision = state.store.issue_bearer(&token).await?;
            state.publish(Some(revision), |snapshot| {
                let long_past = BearerToken::long_past(token.issued_at);
                let bearers = Arc::make_mut(&mut snapshot.bearers);
                bearers.retain(|_, token| token.expires_at >= long_past);
                bearers.insert(token.id.clone(), Arc::new(token));
            });
            Ok(())
        })
        .await
    }

    /// Revokes a bearer token; false if there is none of that id, or it was revoked before.
    ///
    /// # Errors
    ///
    /// The store cannot be written; nothing changed.
    pub(crate) async fn revoke_bearer(
        self: &Arc<Self>,
        id: &str,
        revocation: Revocation,
    ) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(|state| async move {
            let revision = state.store.revoke_bearer(&id, &revocation).await?;
            state.publish(revision, |snapshot| {
                if let Some(token) = Arc::make_mut(&mut snapshot.bearers).get_mut(&id) {
                    Arc::make_mut(token).revoked = Some(revocation);
                }
            });
            Ok(revision.is_some())
        })
        .await
    }
}
