//! Health over HTTP: `/healthz` while the agent runs, `/readyz` while it has a channel.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::link::LinkState;

/// Answers until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    link: watch::Receiver<LinkState>,
    stop: CancellationToken,
) {
    let routes = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(link);
    let served = axum::serve(listener, routes)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "telemetry ended");
    }
}

async fn ready(State(link): State<watch::Receiver<LinkState>>) -> (StatusCode, String) {
    let state = link.borrow();
    let status = match *state {
        LinkState::Connected { .. } => StatusCode::OK,
        LinkState::Connecting { .. } => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, format!("{}\n", *state))
}
