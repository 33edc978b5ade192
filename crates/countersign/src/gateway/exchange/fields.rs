//! The header fields that travel between a client and a service, and those that do not.
//!
//! What a client says of itself in a field that the gateway sets is removed in whatever spelling a reader behind the gateway
//! might take for it: many turn `-` and other marks into `_` (RFC 3875, section 4.1.18). The order matters: fields named by
//! `Connection` go first, so that what is set afterwards cannot be named away.

use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, COOKIE, FORWARDED, HOST, MAX_FORWARDS, SET_COOKIE, TE, TRAILER, UPGRADE, VIA,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Version};

/// What the gateway tells a service of where a request came from.
#[derive(Debug)]
pub(super) struct Provenance<'a> {
    /// The client's address.
    pub(super) client: IpAddr,
    /// The host that the client asked for.
    pub(super) asked: &'a Authority,
    /// The host that the service is asked for.
    pub(super) host: &'a Authority,
    /// What the client speaks.
    pub(super) version: Version,
    /// The signed word on who asks.
    pub(super) identity: HeaderValue,
}

/// Removes what a request's fields may not carry on to a service.
pub(super) fn clean_request(fields: &mut HeaderMap) {
    let takes_trailers = list(fields, &TE).any(|coding| coding.eq_ignore_ascii_case("trailers"));
    remove_named_by_connection(fields);
    remove(fields, |name| {
        is_for_one_hop(name) || is_ours(name) || imitates(name)
    });
    clean_trailer_announcement(fields);
    join_cookies(fields);
    if takes_trailers {
        fields.insert(CONNECTION, HeaderValue::from_static("te"));
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Tells a service where a cleaned request comes from.
pub(super) fn set_provenance(fields: &mut HeaderMap, provenance: Provenance<'_>) {
    let Provenance {
        client,
        asked,
        host,
        version,
        identity,
    } = provenance;
    let node = match client {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let forwarded = format!("for={node};host=\"{asked}\";proto=https");
    let via = match version {
        Version::HTTP_2 => "2.0 countersign",
        Version::HTTP_10 => "1.0 countersign",
        _ => "1.1 countersign",
    };
    set(fields, HOST, host.as_str());
    set(fields, FORWARDED, &forwarded);
    set(fields, X_FORWARDED_FOR, &client.to_string());
    set(fields, X_FORWARDED_HOST, asked.as_str());
    fields.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
    // RFC 9110, section 7.6.3: an HTTP-to-HTTP gateway must.
    fields.append(VIA, HeaderValue::from_static(via));
    fields.insert(IDENTITY, identity);
}

/// Asks a service for WebSocket, in a cleaned request of HTTP/1.1 (RFC 6455, section 4.1).
pub(super) fn set_upgrade(fields: &mut HeaderMap) {
    fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// Removes what a response's fields may not carry on to a client. A service that shows what it was sent does not show the
/// identity token.
pub(super) fn clean_response(fields: &mut HeaderMap) {
    remove_named_by_connection(fields);
    remove(fields, |name| {
        is_for_one_hop(name) || spelled_from(name, "countersign-")
    });
}

/// Removes trailers that may not be any (RFC 9110, section 6.5.1), and those that would say what the gateway says.
pub(super) fn clean_trailers(fields: &mut HeaderMap) {
    remove(fields, |name| !may_be_trailer(name));
}

/// Whether the client's `Connection` fields name this option.
pub(super) fn connection_names(fields: &HeaderMap, option: &str) -> bool {
    list(fields, &CONNECTION).any(|named| named.eq_ignore_ascii_case(option))
}

/// The members of a comma-separated field (RFC 9110, section 5.6.1).
pub(super) fn list<'a>(
    fields: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let values = fields.get_all(name).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|member| !member.is_empty())
}

/// RFC 9110, section 7.6.1. A field that every recipient needs is not the sender's to name.
fn remove_named_by_connection(fields: &mut HeaderMap) {
    let named: Vec<HeaderName> = list(fields, &CONNECTION)
        .filter_map(|option| option.parse().ok())
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
        .collect();
    for name in named {
        fields.remove(name);
    }
}

/// Fields that mean something between two neighbours only (RFC 9110, section 7.6.1).
fn is_for_one_hop(name: &HeaderName) -> bool {
    ONE_HOP.contains(&name.as_str())
}

/// Fields that only the gateway may set, in any spelling.
fn is_ours(name: &HeaderName) -> bool {
    OURS.iter().any(|ours| spelled(name, ours))
        || OURS_BY_PREFIX
            .iter()
            .any(|prefix| spelled_from(name, prefix))
}

/// Fields that a careless reader takes for one that frames or routes the message.
fn imitates(name: &HeaderName) -> bool {
    let framing = [HOST.as_str(), CONTENT_LENGTH.as_str()];
    let mut imitated = ONE_HOP.iter().chain(&framing);
    imitated.any(|real| name.as_str() != *real && spelled(name, real))
}

fn may_be_trailer(name: &HeaderName) -> bool {
    let forbidden = [
        AUTHORIZATION,
        CACHE_CONTROL,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        COOKIE,
        HOST,
        MAX_FORWARDS,
        SET_COOKIE,
        TRAILER,
    ];
    !forbidden.contains(name) && !is_for_one_hop(name) && !is_ours(name) && !imitates(name)
}

/// A field that announces trailers announces those that may come.
fn clean_trailer_announcement(fields: &mut HeaderMap) {
    if !fields.contains_key(TRAILER) {
        return;
    }
    let announced: Vec<&str> = list(fields, &TRAILER)
        .filter(|name| name.parse().is_ok_and(|name| may_be_trailer(&name)))
        .collect();
    let announced = announced.join(", ");
    fields.remove(TRAILER);
    if !announced.is_empty() {
        set(fields, TRAILER, &announced);
    }
}

/// HTTP/2 may split what HTTP/1.1 has in one field (RFC 9113, section 8.2.3).
fn join_cookies(fields: &mut HeaderMap) {
    let mut crumbs = fields.get_all(COOKIE).iter();
    if crumbs.nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = fields
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        fields.insert(COOKIE, whole);
    }
}

fn remove(fields: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let names: Vec<HeaderName> = fields
        .keys()
        .filter(|name| unwanted(name))
        .cloned()
        .collect();
    for name in names {
        fields.remove(name);
    }
}

fn set(fields: &mut HeaderMap, name: HeaderName, value: &str) {
    let value = HeaderValue::try_from(value);
    let value = value.expect("addresses, authorities and field names are visible ASCII");
    fields.insert(name, value);
}

/// Whether a name is `real` but for what stands between its words.
fn spelled(name: &HeaderName, real: &str) -> bool {
    name.as_str().len() == real.len() && spelled_from(name, real)
}

/// Whether a name begins with `prefix` but for what stands between its words.
fn spelled_from(name: &HeaderName, prefix: &str) -> bool {
    let name = name.as_str();
    name.len() >= prefix.len()
        && name
            .bytes()
            .zip(prefix.bytes())
            .all(|(found, real)| found == real || (real == b'-' && !found.is_ascii_alphanumeric()))
}

/// The signed word on who asks.
const IDENTITY: HeaderName = HeaderName::from_static("countersign-identity");

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

const OURS: [&str; 3] = ["countersign", "forwarded", "x-forwarded"];
const OURS_BY_PREFIX: [&str; 2] = ["countersign-", "x-forwarded-"];

/// `Proxy` is no field of HTTP, but CGI makes `HTTP_PROXY` of it (CVE-2016-5385).
const ONE_HOP: [&str; 11] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests;
