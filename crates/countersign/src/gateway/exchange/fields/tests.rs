use super::*;

/// What is left of a request's fields, as `name: value` in the order of their names.
fn check(fields: &[(&str, &str)], expected: &[&str]) {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, value.parse().unwrap());
    }
    clean_request(&mut headers);
    assert_eq!(lines(&headers), expected, "{fields:?}");
}

fn lines(fields: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    lines
}

fn check_removed(names: &[&str]) {
    for name in names {
        check(&[(name, "1")], &[]);
    }
}

fn check_kept(names: &[&str]) {
    for name in names {
        check(
            &[(name, "1")],
            &[&format!("{}: 1", name.to_ascii_lowercase())],
        );
    }
}

#[test]
fn fields_of_ours_go_in_every_spelling() {
    check_removed(&[
        "Countersign-Identity",
        "COUNTERSIGN-IDENTITY",
        "countersign_identity",
        "Countersign_Identity",
        "countersign.identity",
        "countersign~identity",
        "countersign!identity",
        "countersign-",
        "countersign--identity",
        "countersign-identity-",
        "countersign-anything-else",
        "countersign",
    ]);
}

#[test]
fn fields_that_say_where_it_came_from_go_in_every_spelling() {
    check_removed(&[
        "Forwarded",
        "X-Forwarded-For",
        "x_forwarded_for",
        "X-Forwarded_For",
        "x.forwarded.host",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
        "x-forwarded-client-cert",
        "X-Forwarded",
    ]);
}

#[test]
fn fields_for_one_hop_go_and_so_do_their_imitations() {
    check_removed(&[
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authorization",
        "Proxy-Authenticate",
        "Proxy",
        "Transfer-Encoding",
        "Upgrade",
        "HTTP2-Settings",
        "transfer_encoding",
        "transfer.encoding",
        "content_length",
        "proxy_authorization",
    ]);
}

#[test]
fn other_fields_stay_with_underscores_too() {
    check_kept(&[
        "Accept",
        "Authorization",
        "Content-Length",
        "Content-Type",
        "Cookie",
        "Expect",
        "Host",
        "Range",
        "Via",
        "X-Forwarded2",
        "X-Countersign-Identity",
        "Countersigned",
        "my_own_field",
        "X-Real-IP",
        "forwarded-for",
    ]);
}

#[test]
fn what_connection_names_goes_first_and_takes_nothing_that_all_need() {
    check(
        &[
            ("Connection", "X-One, close"),
            ("Connection", "x-two,,  , @bad@"),
            ("X-One", "1"),
            ("x-two", "2"),
            ("X-Three", "3"),
        ],
        &["x-three: 3"],
    );
    check(
        &[
            ("Connection", "Host, Content-Length"),
            ("Host", "a"),
            ("Content-Length", "1"),
        ],
        &["content-length: 1", "host: a"],
    );
}

#[test]
fn a_client_that_takes_trailers_is_one_to_the_service_too() {
    let te = ["connection: te", "te: trailers"];
    check(&[("TE", "trailers"), ("Connection", "TE")], &te);
    check(&[("TE", "gzip;q=0.5, Trailers")], &te);
    check(&[("TE", "gzip")], &[]);
}

#[test]
fn trailers_are_announced_that_may_come() {
    check(
        &[(
            "Trailer",
            "X-Sum, Countersign-Identity, Content-Length, x_forwarded_for, Expires",
        )],
        &["trailer: X-Sum, Expires"],
    );
    check(&[("Trailer", "Host")], &[]);
}

#[test]
fn crumbs_of_a_cookie_are_put_together() {
    check(
        &[("Cookie", "a=1"), ("Cookie", "b=2; c=3")],
        &["cookie: a=1; b=2; c=3"],
    );
}

#[test]
fn trailers_say_nothing_that_belongs_in_a_head() {
    let mut trailers = HeaderMap::new();
    for name in [
        "countersign-identity",
        "countersign_identity",
        "x-forwarded-for",
        "forwarded",
        "authorization",
        "cookie",
        "set-cookie",
        "content-length",
        "content_length",
        "transfer-encoding",
        "host",
        "te",
        "trailer",
        "connection",
        "grpc-status",
        "x-checksum",
    ] {
        trailers.insert(name, "1".parse().unwrap());
    }
    clean_trailers(&mut trailers);
    assert_eq!(lines(&trailers), ["grpc-status: 1", "x-checksum: 1"]);
}

/// What is set for a client at this address that asked for this host, of a request that had these fields.
fn check_set(client: &str, asked: &str, version: Version, expected: &[&str]) {
    let mut fields = HeaderMap::new();
    fields.append(VIA, "1.0 before".parse().unwrap());
    fields.append(HOST, "elsewhere".parse().unwrap());
    let provenance = Provenance {
        client: client.parse().unwrap(),
        asked: &asked.parse().unwrap(),
        host: &"site.test".parse().unwrap(),
        version,
        identity: "v4.public.x".parse().unwrap(),
    };
    set_provenance(&mut fields, provenance);
    assert_eq!(lines(&fields), expected);
}

#[test]
fn provenance_is_told_in_every_usual_way() {
    check_set(
        "192.0.2.1",
        "site.test:8443",
        Version::HTTP_11,
        &[
            "countersign-identity: v4.public.x",
            "forwarded: for=192.0.2.1;host=\"site.test:8443\";proto=https",
            "host: site.test",
            "via: 1.0 before",
            "via: 1.1 countersign",
            "x-forwarded-for: 192.0.2.1",
            "x-forwarded-host: site.test:8443",
            "x-forwarded-proto: https",
        ],
    );
    check_set(
        "2001:db8::1",
        "[::1]:80",
        Version::HTTP_2,
        &[
            "countersign-identity: v4.public.x",
            "forwarded: for=\"[2001:db8::1]\";host=\"[::1]:80\";proto=https",
            "host: site.test",
            "via: 1.0 before",
            "via: 2.0 countersign",
            "x-forwarded-for: 2001:db8::1",
            "x-forwarded-host: [::1]:80",
            "x-forwarded-proto: https",
        ],
    );
}
