//! Where a request is meant to go: its authority, held against every other place that names it.
//!
//! What two readers may understand in two ways is refused, not guessed at: a Host field that names something else, user
//! information, a body where none can be.

use std::net::IpAddr;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, StatusCode, Version};

use super::problem::Problem;

/// The service's name and port in `CONNECT name:port` (RFC 9110, section 9.3.6, which wants the port).
///
/// # Errors
///
/// The request can be understood in more than one way, or in none.
pub(super) fn of_connect(request: &Parts) -> Result<(&str, u16), Problem> {
    let authority = request
        .uri
        .authority()
        .ok_or_else(|| Problem::malformed("CONNECT wants an authority: `service:port`"))?;
    if request.uri.scheme().is_some() {
        // RFC 9112, section 3.2.3: nothing but the authority form.
        return Err(Problem::malformed(format!(
            "`{}` is more than an authority; the target of CONNECT is `service:port`",
            request.uri
        )));
    }
    is_plain(authority)?;
    agrees(request, authority)?;
    // What follows the header section of a CONNECT is the tunnel's, whatever these fields say.
    for field in [CONTENT_LENGTH, TRANSFER_ENCODING] {
        if request.headers.contains_key(&field) {
            let detail = format!("a CONNECT request has no content, and so no `{field}`");
            return Err(Problem::malformed(detail));
        }
    }
    match authority.port_u16() {
        _ if authority.host().len() > LONGEST_NAME => Err(Problem::malformed(format!(
            "the service's name has more than {LONGEST_NAME} bytes"
        ))),
        Some(port) if port > 0 => Ok((authority.host(), port)),
        Some(_) => Err(Problem::malformed(format!(
            "`{authority}`: 0 is no port; the authority of CONNECT is `service:port`"
        ))),
        None => Err(Problem::malformed(format!(
            "`{authority}` lacks its port; the authority of CONNECT is `service:port`"
        ))),
    }
}

/// The authority that any other request is for, from its target or else from its Host field (RFC 9110, section 7.2).
///
/// # Errors
///
/// It has none, or more than one.
pub(super) fn of_request(request: &Parts) -> Result<Authority, Problem> {
    let authority = match request.uri.authority() {
        Some(authority) => authority.clone(),
        None => host(&request.headers)?
            .ok_or_else(|| Problem::malformed("the request lacks its Host field"))?,
    };
    is_plain(&authority)?;
    agrees(request, &authority)?;
    Ok(authority)
}

/// Whether a request is for one who answers it, and not for a proxy that would forward it in the clear: this gateway
/// tunnels.
///
/// # Errors
///
/// Its target is absolute (RFC 9112, section 3.2.2), and not `https`.
pub(super) fn is_not_for_a_proxy(request: &Parts) -> Result<(), Problem> {
    match request.uri.scheme_str() {
        None | Some("https") => Ok(()),
        Some(_) => Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "absolute_form",
            format!(
                "`{}` is asked of a proxy that forwards, and this gateway tunnels: send `CONNECT` for it, as `curl --proxytunnel` does",
                request.uri
            ),
        )),
    }
}

/// Whether a host names no service but the place where it is said: `localhost` or an IP address. A program that goes by an
/// agent's local port asks for that.
pub(super) fn is_here(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
}

/// An authority is a host, and a port that is one. User information in it is there to deceive (RFC 9110, section 4.2.4).
fn is_plain(authority: &Authority) -> Result<(), Problem> {
    if authority.as_str().contains('@') {
        return Err(Problem::malformed("an authority has no user information"));
    }
    let port = authority.as_str().strip_prefix(authority.host());
    match port {
        Some("" | ":") => Ok(()),
        Some(_) if authority.port_u16().is_some() => Ok(()),
        _ => Err(Problem::malformed(format!(
            "`{authority}`: a port is a number below 65536"
        ))),
    }
}

/// Whether the Host field names the same (RFC 9112, section 3.2; RFC 9113, section 8.3.1). Some clients leave its port
/// out.
fn agrees(request: &Parts, authority: &Authority) -> Result<(), Problem> {
    let Some(host) = host(&request.headers)? else {
        return match request.version {
            Version::HTTP_11 => Err(Problem::malformed("the request lacks its Host field")),
            _ => Ok(()),
        };
    };
    let same_port = host.port().is_none() || host.port_u16() == authority.port_u16();
    if same_port && host.host().eq_ignore_ascii_case(authority.host()) {
        return Ok(());
    }
    Err(Problem::malformed(format!(
        "the Host field says `{host}`, and the request is for `{authority}`"
    )))
}

fn host(headers: &HeaderMap) -> Result<Option<Authority>, Problem> {
    let mut values = headers.get_all(HOST).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::malformed("there is more than one Host field"));
    }
    let host = Authority::try_from(value.as_bytes())
        .map_err(|_| Problem::malformed("the Host field holds no authority"))?;
    is_plain(&host)?;
    Ok(Some(host))
}

/// As long as a DNS name may be (RFC 1035, section 2.3.4): what is asked for ends up in audit.
const LONGEST_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use http::{Method, Request};

    use super::*;

    /// What is made of a CONNECT, for this version, target and fields: `name port`, or the refusal.
    fn check(version: Version, target: &str, fields: &[(&str, &str)], expected: &str) {
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .version(version)
            .uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let found = match of_connect(&parts) {
            Ok((name, port)) => format!("{name} {port}"),
            Err(problem) => format!("{} {}", problem.status.as_u16(), problem.detail),
        };
        assert_eq!(found, expected, "{target} {fields:?}");
    }

    #[test]
    fn a_name_and_a_port_are_a_target() {
        check(Version::HTTP_2, "echo:7", &[], "echo 7");
        check(Version::HTTP_2, "Echo:7", &[], "Echo 7");
        check(Version::HTTP_2, "[::1]:7", &[], "[::1] 7");
        check(Version::HTTP_11, "echo:7", &[("host", "ECHO:7")], "echo 7");
    }

    #[test]
    fn the_host_field_may_leave_the_port_out() {
        check(
            Version::HTTP_11,
            "echo:443",
            &[("host", "echo")],
            "echo 443",
        );
    }

    #[test]
    fn a_port_has_to_be_there_and_be_one() {
        let absent = "lacks its port; the authority of CONNECT is `service:port`";
        check(
            Version::HTTP_2,
            "echo",
            &[],
            &format!("400 `echo` {absent}"),
        );
        check(
            Version::HTTP_2,
            "echo:",
            &[],
            &format!("400 `echo:` {absent}"),
        );
        check(
            Version::HTTP_2,
            "echo:0",
            &[],
            "400 `echo:0`: 0 is no port; the authority of CONNECT is `service:port`",
        );
        for target in ["echo:65536", "[::1]:65536"] {
            let refused = format!("400 `{target}`: a port is a number below 65536");
            check(Version::HTTP_2, target, &[], &refused);
        }
        check(
            Version::HTTP_11,
            "echo:7",
            &[("host", "echo:7x")],
            "400 `echo:7x`: a port is a number below 65536",
        );
    }

    #[test]
    fn user_information_is_refused_wherever_it_stands() {
        let refused = "400 an authority has no user information";
        check(Version::HTTP_2, "root@echo:7", &[], refused);
        check(Version::HTTP_11, "echo:7", &[("host", "a@echo:7")], refused);
    }

    #[test]
    fn a_host_field_that_names_something_else_is_refused() {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            check(
                version,
                "echo:7",
                &[("host", "secret:7")],
                "400 the Host field says `secret:7`, and the request is for `echo:7`",
            );
            check(
                version,
                "echo:7",
                &[("host", "echo:8")],
                "400 the Host field says `echo:8`, and the request is for `echo:7`",
            );
        }
    }

    #[test]
    fn one_host_field_is_wanted_from_http_1_1_and_no_more_from_anyone() {
        check(Version::HTTP_10, "echo:7", &[], "echo 7");
        check(
            Version::HTTP_11,
            "echo:7",
            &[],
            "400 the request lacks its Host field",
        );
        check(
            Version::HTTP_11,
            "echo:7",
            &[("host", "echo:7"), ("host", "echo:7")],
            "400 there is more than one Host field",
        );
    }

    #[test]
    fn a_connect_has_no_content() {
        check(
            Version::HTTP_2,
            "echo:7",
            &[("content-length", "5")],
            "400 a CONNECT request has no content, and so no `content-length`",
        );
        check(
            Version::HTTP_11,
            "echo:7",
            &[("host", "echo:7"), ("transfer-encoding", "chunked")],
            "400 a CONNECT request has no content, and so no `transfer-encoding`",
        );
    }
}
