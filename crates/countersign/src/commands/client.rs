//! HTTP/1.1 over the gateway's Unix socket: one connection for one request.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::cli::GatewaySocket;
use crate::config::{ConfigError, DEFAULT_SOCKET, GatewayConfig, LONGEST_SOCKET_PATH};
use crate::operator::OperatorProblem;
use crate::report::{Report, Verdict};

/// A gateway's operator socket.
pub(super) struct Client {
    socket: PathBuf,
}

/// Why an operator's command did not get its answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CommandError {
    /// Nobody listens on the socket.
    #[error("no gateway answers at `{}`", .socket.display())]
    NotRunning {
        /// The socket.
        socket: PathBuf,
        /// What connecting gave.
        source: std::io::Error,
    },
    /// The socket is another user's.
    #[error("the operator socket `{}` is not yours to open", .socket.display())]
    NotAllowed {
        /// The socket.
        socket: PathBuf,
    },
    /// No socket can be there.
    #[error("the socket path `{}` has {length} bytes, and the system takes {LONGEST_SOCKET_PATH}", .socket.display())]
    SocketPath {
        /// The path.
        socket: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// The gateway hung up or took too long.
    #[error("the gateway at `{}` gave no answer: {reason}", .socket.display())]
    NoAnswer {
        /// The socket.
        socket: PathBuf,
        /// What happened.
        reason: String,
    },
    /// The gateway said no.
    #[error("{detail}")]
    Refused {
        /// The gateway's words.
        detail: String,
        /// What it says to do.
        hint: Option<String>,
        /// Whether the fault is the gateway's own.
        failed: bool,
    },
    /// The answer is not what this version expects.
    #[error("the gateway's answer cannot be understood")]
    Answer(#[source] serde_json::Error),
    /// A path cannot be made absolute.
    #[error("cannot tell where `{}` is", .path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Report for CommandError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotRunning { .. } => {
                "start it with `countersign gateway --config FILE`, or say where its socket is \
                                        with `--socket PATH` or `--config FILE`"
                    .to_owned()
            }
            Self::NotAllowed { .. } => {
                "run the command as the gateway's user, such as with `sudo -u countersign`"
                    .to_owned()
            }
            Self::SocketPath { .. } => {
                "name the socket by a shorter path, such as a relative one".to_owned()
            }
            Self::NoAnswer { .. } => "the gateway's log says what happened".to_owned(),
            Self::Refused { hint, .. } => return hint.clone(),
            Self::Answer(_) => format!(
                "this is version {} of countersign: the gateway may be of another",
                env!("CARGO_PKG_VERSION")
            ),
            Self::Path { .. } => return None,
        })
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Refused { failed: false, .. } => Verdict::No,
            _ => Verdict::Unknown,
        }
    }
}

impl Client {
    /// The gateway that the command line names, or the one at the usual place.
    pub(super) fn find(gateway: &GatewaySocket) -> Result<Self, ConfigError> {
        let socket = match (&gateway.socket, &gateway.config) {
            (_, Some(file)) => GatewayConfig::read(file)?.operate.socket,
            (Some(socket), None) => socket.clone(),
            (None, None) => std::env::var_os("COUNTERSIGN_SOCKET")
                .map_or_else(|| PathBuf::from(DEFAULT_SOCKET), PathBuf::from),
        };
        Ok(Self { socket })
    }

    /// Sends a request; a success gives its JSON.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Value, CommandError> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|source| not_connected(&self.socket, source))?;
        let exchange = exchange(stream, request(method, path, body));
        let answered = tokio::time::timeout(PATIENCE, exchange).await;
        let no_answer = |reason| CommandError::NoAnswer {
            socket: self.socket.clone(),
            reason,
        };
        let (status, body) = answered
            .map_err(|_| {
                no_answer(format!(
                    "it took longer than {} seconds",
                    PATIENCE.as_secs()
                ))
            })?
            .map_err(|error| no_answer(error.to_string()))?;
        match status.is_success() {
            true => serde_json::from_slice(&body).map_err(CommandError::Answer),
            false => Err(refusal(status, &body)),
        }
    }
}

/// Escapes what may not stand in one segment or parameter of a URI, RFC 3986 section 2.3.
pub(super) fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

fn request(method: Method, path: &str, body: Option<String>) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "gateway")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::from(body.unwrap_or_default()))
        .expect("paths are escaped and headers are constants")
}

async fn exchange(
    stream: UnixStream,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let answer: Response<Incoming> = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST_ANSWER)
            .collect()
            .await?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection may be done before its last bytes are read.
        closed = &mut connection => match closed {
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    }
}

fn not_connected(socket: &Path, source: std::io::Error) -> CommandError {
    let socket = socket.to_owned();
    let length = socket.as_os_str().len();
    match source.kind() {
        _ if length > LONGEST_SOCKET_PATH => CommandError::SocketPath { socket, length },
        ErrorKind::PermissionDenied => CommandError::NotAllowed { socket },
        _ => CommandError::NotRunning { socket, source },
    }
}

fn refusal(status: StatusCode, body: &[u8]) -> CommandError {
    let problem: Option<OperatorProblem> = serde_json::from_slice(body).ok();
    let (detail, hint) = match problem {
        Some(problem) => (problem.detail, problem.hint),
        None => (format!("the gateway answered with status {status}"), None),
    };
    CommandError::Refused {
        detail,
        hint,
        failed: status.is_server_error(),
    }
}

/// A backup of a large gateway is the slowest answer there is.
const PATIENCE: Duration = Duration::from_secs(60);

/// 20,000 channels at 4 KiB each, three times over.
const LONGEST_ANSWER: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_place_in_the_path() {
        assert_eq!(escaped("laptop-1.a_b~"), "laptop-1.a_b~");
        assert_eq!(escaped("../grants?x=1 é"), "..%2Fgrants%3Fx%3D1%20%C3%A9");
        assert_eq!(escaped("spiffe://a/b"), "spiffe%3A%2F%2Fa%2Fb");
    }

    #[test]
    fn a_refusal_repeats_what_the_gateway_said() {
        let said = br#"{"detail":"there is no agent `x`","code":"unknown-agent","hint":"see `countersign agents list`"}"#;
        let error = refusal(StatusCode::NOT_FOUND, said);
        assert_eq!(error.to_string(), "there is no agent `x`");
        assert_eq!(
            error.hint().as_deref(),
            Some("see `countersign agents list`")
        );
        assert_eq!(error.verdict(), Verdict::No);
    }

    #[test]
    fn a_refusal_without_words_names_its_status() {
        let error = refusal(StatusCode::INTERNAL_SERVER_ERROR, b"oops");
        assert_eq!(
            error.to_string(),
            "the gateway answered with status 500 Internal Server Error"
        );
        assert_eq!(error.verdict(), Verdict::Unknown);
    }
}
