//! One request to an HTTP service, from its head to the end of its answer; the same on HTTP/1.1, on HTTP/2 and inside a
//! tunnel.

mod body;

pub(crate) use self::body::{Body, BodyFault};
