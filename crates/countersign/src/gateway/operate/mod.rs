//! The operator's side: JSON over HTTP/1.1 on a Unix socket that only the gateway's user and root may open.
//!
//! Each call is made by a uid that the kernel names; what changes something is audited with it.

mod agents;
mod attestation;
mod backup;
mod certificates;
mod exceptions;
mod grants;
mod tokens;
mod views;

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::serve::IncomingStream;
use http::StatusCode;
use tokio::net::UnixListener;

use super::Gateway;
use crate::audit::Operator;
use crate::operator::OperatorProblem;
use crate::report::{Failure, Report};

/// Who calls, by the kernel's word; absent where the kernel does not say.
#[derive(Clone, Copy, Debug)]
struct Caller(Option<u32>);

/// What went wrong with an operator's call.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    problem: OperatorProblem,
}

/// Opens the socket, with mode 0600 from its first moment: it is made in a private folder and moved to its place. A
/// socket that a gateway left behind is replaced; one that answers is not.
///
/// # Errors
///
/// The socket cannot be made, or another gateway answers on it.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let private = tempfile::tempdir_in(folder.unwrap_or(Path::new(".")))?;
    let made = private.path().join("s");
    let listener = UnixListener::bind(&made)?;
    std::fs::set_permissions(&made, Permissions::from_mode(0o600))?;
    std::fs::rename(&made, path)?;
    Ok(listener)
}

/// Serves until the gateway stops, then removes the socket.
pub(super) async fn serve(gateway: Arc<Gateway>, listener: UnixListener, path: PathBuf) {
    let stopped = gateway.stopped.clone();
    let service = router(gateway).into_make_service_with_connect_info::<Caller>();
    let served = axum::serve(listener, service)
        .with_graceful_shutdown(async move { stopped.cancelled().await })
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the operator socket has failed");
    }
    let _ = std::fs::remove_file(path);
}

fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/services", get(views::services))
        .route("/exceptions", get(exceptions::list).post(exceptions::add))
        .route("/exceptions/{id}/end", post(exceptions::end))
        .route("/identity/keys", get(views::identity_keys))
        .route("/certificates", get(views::certificates))
        .route("/certificates/{name}/renew", post(certificates::renew))
        .route("/stage", get(views::stage))
        .route("/sessions", get(views::sessions))
        .route("/sessions/refused", get(views::refused))
        .route("/sessions/{id}/close", post(agents::close_session))
        .route("/join-strings", post(agents::create_join_string))
        .route("/join-strings/tpm", get(attestation::join_string))
        .route(
            "/eks",
            get(attestation::list_eks).post(attestation::allow_ek),
        )
        .route("/eks/{hash}", delete(attestation::forbid_ek))
        .route("/agents", get(agents::list))
        .route("/agents/{name}/attestation", get(attestation::show))
        .route("/agents/{name}/attestation/learn", post(attestation::learn))
        .route(
            "/agents/{name}/attestation/accept",
            post(attestation::accept),
        )
        .route("/agents/{name}/revoke", post(agents::revoke))
        .route(
            "/grants",
            get(grants::list).post(grants::add).delete(grants::remove),
        )
        .route("/tokens", get(tokens::list).post(tokens::issue))
        .route("/tokens/{id}/revoke", post(tokens::revoke))
        .route("/backup", post(backup::create))
        .fallback(|| async {
            Refused::not_found("unknown-call", "there is no such call".to_owned())
        })
        .layer(middleware::from_fn(only_trusted))
        .with_state(gateway)
}

/// Lets in the gateway's own user and root: the socket's mode says the same, and this holds if the mode was changed.
async fn only_trusted(
    ConnectInfo(Caller(uid)): ConnectInfo<Caller>,
    mut request: Request,
    next: Next,
) -> Response {
    let own = rustix::process::getuid().as_raw();
    match uid {
        Some(uid) if uid == own || uid == 0 => {
            request.extensions_mut().insert(Operator { uid });
            next.run(request).await
        }
        _ => Refused::new(
            StatusCode::FORBIDDEN,
            "not-the-operator",
            "only the gateway's user and root operate it".to_owned(),
        )
        .into_response(),
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

impl Refused {
    fn new(status: StatusCode, code: &str, detail: String) -> Self {
        Self {
            status,
            problem: OperatorProblem {
                detail,
                code: code.to_owned(),
                hint: None,
            },
        }
    }

    fn not_found(code: &str, detail: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    fn invalid(code: &str, detail: String) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    fn failed(error: &dyn std::error::Error) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "failed",
            error.to_string(),
        )
    }

    /// What the program would say itself, with its hint.
    fn reported(code: &str, error: impl Report) -> Self {
        let hint = error.hint();
        let mut refused = Self::invalid(code, Failure::from(error).to_string());
        refused.problem.hint = hint;
        refused
    }

    fn with_hint(mut self, hint: &str) -> Self {
        self.problem.hint = Some(hint.to_owned());
        self
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(self.problem)).into_response()
    }
}
