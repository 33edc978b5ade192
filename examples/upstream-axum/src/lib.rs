//! An HTTP service behind Countersign that tells its callers their names, and answers nobody else.
//!
//! What to take from it is [`identity`]: with it a handler that asks for a [`Caller`] is called for requests that the
//! gateway vouches for, and for no others.

pub mod identity;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use self::identity::{Caller, Verifier};

/// The service.
pub fn app(verifier: Arc<Verifier>) -> Router {
    Router::new().route("/", get(greet)).with_state(verifier)
}

async fn greet(caller: Caller) -> String {
    format!("you are {}\n", caller.name())
}
