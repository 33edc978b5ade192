use http::{HeaderName, Request};

use super::*;

/// What is made of a request: its length and whether it asks for WebSocket, or the refusal.
fn check(request: &str, expected: &str) {
    let mut lines = request.lines();
    let mut start = lines.next().unwrap().split(' ');
    let mut built = Request::builder()
        .method(start.next().unwrap())
        .uri(start.next().unwrap())
        .version(match start.next() {
            Some("HTTP/2") => Version::HTTP_2,
            _ => Version::HTTP_11,
        });
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        built = built.header(name.parse::<HeaderName>().unwrap(), value);
    }
    let (mut parts, ()) = built.body(()).unwrap().into_parts();
    if parts.method == Method::CONNECT {
        let protocol = parts.headers.remove("protocol").unwrap();
        let protocol = h2::ext::Protocol::from(protocol.to_str().unwrap());
        parts.extensions.insert(protocol);
    }
    let limits = HeadLimits {
        uri: 20,
        fields: 300,
    };
    let found = match Head::read(&parts, limits) {
        Ok(Head { length, websocket }) => format!(
            "{}{}",
            length.map_or("-".to_owned(), |length| length.to_string()),
            if websocket { " websocket" } else { "" }
        ),
        Err(problem) => format!("{} {}", problem.status.as_u16(), problem.detail),
    };
    assert_eq!(found, expected, "{request}");
}

#[test]
fn a_length_is_one_number() {
    let refused = "400 the Content-Length is not one number";
    check("GET /", "-");
    check("POST /\ncontent-length: 5", "5");
    check("POST /\ncontent-length: 005", "5");
    for length in ["", "+5", "-5", "5,5", "0x5", "5 5", "99999999999999999999"] {
        check(&format!("POST /\ncontent-length: {length}"), refused);
    }
    check("POST /\ncontent-length: 5\ncontent-length: 5", refused);
}

#[test]
fn a_target_is_a_path_of_some_length() {
    check("GET /1234567890123456789", "-");
    check(
        "GET /12345678901234567890",
        "414 the target has 21 bytes, and may have 20",
    );
    check("GET *", "400 the target `*` is no path");
    check("OPTIONS *", "-");
    check("GET web.test", "400 the target `` is no path");
    check("GET https://web.test", "-");
    check("TRACE /", "501 TRACE is not carried");
}

#[test]
fn fields_have_a_limit_together() {
    let value = "a".repeat(300 - 1 - 4);
    check(&format!("GET /\nx: {value}"), "-");
    check(
        &format!("GET /\nx: {value}a"),
        "431 the header fields have 301 bytes, and may have 300",
    );
}

#[test]
fn a_value_has_no_space_around_it() {
    for value in [" a", "a ", "\ta", "a\t", " "] {
        check(
            &format!("GET / HTTP/2\nx: {value}"),
            "400 the value of `x` begins or ends with space",
        );
    }
    check("GET / HTTP/2\nx: a b", "-");
    check("GET / HTTP/2\nx: ", "-");
}

#[test]
fn one_coding_and_one_expectation_are_understood() {
    let coding = "501 of transfer codings, `chunked` alone is taken, once";
    check("POST /\ntransfer-encoding: Chunked", "-");
    check("POST /\ntransfer-encoding: gzip, chunked", coding);
    check(
        "POST /\ntransfer-encoding: chunked\ntransfer-encoding: chunked",
        coding,
    );
    check("POST /\nexpect: 100-Continue", "-");
    check(
        "POST /\nexpect: 100-continue\nexpect: x",
        "417 of expectations, `100-continue` alone can be met",
    );
}

#[test]
fn websocket_is_asked_for_in_full() {
    let ask = "connection: keep-alive, Upgrade\nupgrade: WebSocket\nsec-websocket-version: 13";
    check(
        &format!("GET /\n{ask}\nsec-websocket-key: x"),
        "- websocket",
    );
    check(
        &format!("GET /\n{ask}"),
        "400 a request for WebSocket has its key",
    );
    check(
        "GET /\nconnection: upgrade\nupgrade: websocket\nsec-websocket-key: x",
        "400 a request for WebSocket has a version",
    );
    check(
        &format!("GET /\n{ask}\nsec-websocket-key: x\ncontent-length: 3"),
        "400 a request for WebSocket has no content",
    );
    check(&format!("POST /\n{ask}"), "-");
    check(&format!("GET / HTTP/2\n{ask}"), "-");
    check("GET /\nupgrade: websocket", "-");
    check("GET /\nconnection: upgrade\nupgrade: h2c", "-");
}

#[test]
fn an_extended_connect_is_for_websocket() {
    check(
        "CONNECT https://web.test/ HTTP/2\nprotocol: websocket",
        "- websocket",
    );
    check(
        "CONNECT https://web.test/ HTTP/2\nprotocol: connect-udp",
        "501 an extended CONNECT is for `websocket`, not for `connect-udp`",
    );
}
