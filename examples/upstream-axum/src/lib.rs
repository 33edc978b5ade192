//! An HTTP service behind Countersign that tells its callers their names, and answers nobody else.
//!
//! What to take from it is [`identity`]: behind its layer a handler is called for requests that the gateway vouches for, and
//! for no others.

pub mod identity;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use self::identity::{Caller, Verifier};

/// The service.
pub fn app(verifier: Arc<Verifier>) -> Router {
    Router::new()
        .route("/", get(greet))
        .layer(verifier.layer())
        .layer(map_response(ask_back))
}

async fn greet(caller: Caller) -> String {
    format!("you are {}\n", caller.subject().unwrap_or_default())
}

/// Whoever came around the gateway learns nothing.
async fn ask_back(response: Response) -> Response {
    match response.status() {
        StatusCode::UNAUTHORIZED => (StatusCode::UNAUTHORIZED, "who are you?\n").into_response(),
        _ => response,
    }
}
