//! An HTTP proxy that knows one method, CONNECT (RFC 9110, section 9.3.6).
//!
//! A web page can make its browser send requests to loopback. So whatever bears the marks of a page (`Origin`,
//! `Sec-Fetch-Site`) is refused, and so is a `Host` that is not this machine: that is a page whose name was rebound to
//! 127.0.0.1. Browsers do not let a page send CONNECT; a browser that is configured to use the proxy sends it unmarked.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign_channel::tunnel::IntoEnd;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, ORIGIN};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::agent::local::Local;
use crate::agent::open::{Carriage, NotAService, Open, service_at};
use crate::agent::sessions::Sessions;
use crate::config::ServiceName;

/// Serves one connection to its end.
pub(crate) async fn serve<O: Open>(client: TcpStream, open: O, sessions: Arc<Sessions>) {
    let answer = service_fn(move |request| {
        let (open, sessions) = (open.clone(), Arc::clone(&sessions));
        async move { Ok::<_, Infallible>(answer(request, open, sessions).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(client), answer)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "http proxy client");
    }
}

async fn answer<O: Open>(
    mut request: Request<Incoming>,
    open: O,
    sessions: Arc<Sessions>,
) -> Response<Full<Bytes>> {
    let service = match read(&request) {
        Ok(service) => service,
        Err(refusal) => {
            tracing::debug!(%refusal, "http proxy client refused");
            return no(refusal.status(), &refusal.to_string());
        }
    };
    match open.open(&service, Carriage::Shared).await {
        Ok(stream) => {
            let client = hyper::upgrade::on(&mut request);
            sessions
                .clone()
                .spawn(hand_over(client, stream, service, sessions));
            Response::new(Full::default())
        }
        Err(error) => {
            tracing::warn!(%service, %error, "http proxy client gets no stream");
            no(error.status(), &error.to_string())
        }
    }
}

/// From the answer on the connection is a plain socket, which can be reset: hyper would only ever end it.
async fn hand_over<S>(client: OnUpgrade, stream: S, service: ServiceName, sessions: Arc<Sessions>)
where
    S: IntoEnd<End: Send> + Send + 'static,
{
    let Ok(upgraded) = client.await else { return };
    if let Some((client, early)) = into_socket(upgraded) {
        sessions
            .carry(Local::from(client).after(early), stream, &service)
            .await;
    }
}

/// The socket, and what the client sent behind its request without waiting for the answer.
fn into_socket(upgraded: Upgraded) -> Option<(TcpStream, Bytes)> {
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}

/// What a request asks for.
fn read<B>(request: &Request<B>) -> Result<ServiceName, Refusal> {
    for mark in [ORIGIN.as_str(), "sec-fetch-site"] {
        if request.headers().contains_key(mark) {
            return Err(Refusal::WebPage);
        }
    }
    let host = host(request)?;
    if request.method() != Method::CONNECT {
        return Err(match host {
            Some(host) if !is_this_machine(&host) && request.uri().authority() != Some(&host) => {
                Refusal::ForeignHost(host.to_string())
            }
            _ => Refusal::NotConnect(request.method().clone()),
        });
    }
    let Some(target) = request.uri().authority() else {
        return Err(Refusal::NoTarget);
    };
    if host.is_some_and(|host| !same(&host, target)) {
        return Err(Refusal::TwoTargets);
    }
    // `as_str` differs where there is user information, which no CONNECT has.
    match target.port_u16() {
        Some(port) if port != 0 && !target.as_str().contains('@') => {
            Ok(service_at(target.host(), port)?)
        }
        _ => Err(Refusal::NoTarget),
    }
}

/// The `Host` of the request, of which RFC 9112 (section 3.2) allows one.
fn host<B>(request: &Request<B>) -> Result<Option<Authority>, Refusal> {
    let mut values = request.headers().get_all(HOST).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Refusal::BadHost);
    }
    Authority::try_from(value.as_bytes())
        .map(Some)
        .map_err(|_| Refusal::BadHost)
}

/// Some clients leave the port out of `Host`.
fn same(host: &Authority, target: &Authority) -> bool {
    host.host().eq_ignore_ascii_case(target.host())
        && (host.port_u16().is_none() || host.port_u16() == target.port_u16())
}

fn is_this_machine(host: &Authority) -> bool {
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Why a request was refused before anything was opened for it.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("a web page may not use this proxy")]
    WebPage,
    #[error("this proxy does not answer for `{}`", .0.escape_debug())]
    ForeignHost(String),
    #[error("`{0}` is not served here; this is a proxy for CONNECT (with curl: `--proxytunnel`)")]
    NotConnect(Method),
    #[error("CONNECT needs a service and its port, such as `echo:7`")]
    NoTarget,
    #[error("`Host` names another target than the request")]
    TwoTargets,
    #[error("`Host` is not one host")]
    BadHost,
    #[error(transparent)]
    NotAService(#[from] NotAService),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::WebPage | Self::ForeignHost(_) | Self::NotAService(NotAService::IpAddress(_)) => {
                StatusCode::FORBIDDEN
            }
            Self::NotConnect(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoTarget | Self::TwoTargets | Self::BadHost | Self::NotAService(_) => {
                StatusCode::BAD_REQUEST
            }
        }
    }
}

fn no(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{why}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("CONNECT"));
    }
    response
}

/// A program beside the agent needs no more for one request; one that waits longer holds a socket for nothing.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Twice the longest request that curl or a browser was seen to send, and hyper's smallest limit.
const HEADER_BYTES: usize = 8192;
const HEADERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, target: &str, headers: &[(&str, &str)], expected: Result<&str, u16>) {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let read = read(&request.body(()).unwrap());
        assert_eq!(
            read.map(|service| service.to_string())
                .map_err(|refusal| refusal.status().as_u16()),
            expected.map(str::to_owned),
            "{method} {target} {headers:?}"
        );
    }

    #[test]
    fn connect_names_a_service() {
        check("CONNECT", "echo:7", &[], Ok("echo:7"));
        check("CONNECT", "Echo:7", &[("host", "echo:7")], Ok("echo:7"));
        check("CONNECT", "echo:7", &[("host", "echo")], Ok("echo:7"));
    }

    #[test]
    fn a_web_page_is_refused_by_its_marks() {
        check(
            "CONNECT",
            "echo:7",
            &[("origin", "https://evil.example")],
            Err(403),
        );
        check("CONNECT", "echo:7", &[("origin", "null")], Err(403));
        check(
            "CONNECT",
            "echo:7",
            &[("sec-fetch-site", "cross-site")],
            Err(403),
        );
        check(
            "POST",
            "/",
            &[("origin", "http://127.0.0.1:8118")],
            Err(403),
        );
    }

    #[test]
    fn a_name_rebound_to_loopback_is_refused() {
        check("GET", "/", &[("host", "evil.example:8118")], Err(403));
        check("GET", "/", &[("host", "localhost.evil.example")], Err(403));
        check("GET", "/", &[("host", "127.0.0.1.evil.example")], Err(403));
    }

    #[test]
    fn all_but_connect_is_not_allowed() {
        for host in ["localhost:8118", "127.0.0.1:8118", "[::1]:8118"] {
            check("GET", "/", &[("host", host)], Err(405));
        }
        check("GET", "http://web:80/", &[("host", "web:80")], Err(405));
        check("OPTIONS", "*", &[("host", "localhost")], Err(405));
    }

    #[test]
    fn connect_without_a_service_and_a_port_is_malformed() {
        check("CONNECT", "echo", &[], Err(400));
        check("CONNECT", "echo:0", &[], Err(400));
        check("CONNECT", "echo:70000", &[], Err(400));
        check("CONNECT", "user@echo:7", &[], Err(400));
        check("CONNECT", "a..b:7", &[], Err(400));
    }

    #[test]
    fn connect_with_two_opinions_is_malformed() {
        check("CONNECT", "echo:7", &[("host", "db:5432")], Err(400));
        check("CONNECT", "echo:7", &[("host", "echo:8")], Err(400));
        check(
            "CONNECT",
            "echo:7",
            &[("host", "echo:7"), ("host", "echo:7")],
            Err(400),
        );
        check("CONNECT", "echo:7", &[("host", "a b")], Err(400));
    }

    #[test]
    fn addresses_are_refused() {
        check("CONNECT", "10.0.0.1:22", &[], Err(403));
        check("CONNECT", "[::1]:22", &[], Err(403));
    }
}
