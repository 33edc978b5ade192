//! A request as it is put on a connection, again if need be.

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, SEC_WEBSOCKET_KEY, TE, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderValue, Method, Request, StatusCode, Version};

use super::error::UpstreamError;
use super::upload::Upload;
use crate::gateway::exchange::Body;

/// A request that is to be sent, whole for as long as nothing was taken of its body.
pub(super) struct Outgoing {
    head: Parts,
    pub(super) upload: Upload,
    /// Whether it asks for another protocol.
    pub(super) upgrades: bool,
    expects: bool,
}

impl Outgoing {
    pub(super) fn new(request: Request<Body>) -> Self {
        let (mut head, body) = request.into_parts();
        let expects = head.headers.remove(EXPECT).is_some();
        Self {
            upgrades: head.headers.contains_key(UPGRADE),
            expects,
            head,
            upload: Upload::new(body),
        }
    }

    /// Whether doing it twice is as good as doing it once (RFC 9110, section 9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        let method = &self.head.method;
        let idempotent = [Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE];
        *method == Method::GET || *method == Method::HEAD || idempotent.contains(method)
    }

    /// The request for an HTTP/1.1 connection (RFC 9112, section 3.2.1). If the client waits for `100 (Continue)`, so does
    /// the body.
    ///
    /// # Errors
    ///
    /// It names no host.
    pub(super) fn http1(&self) -> Result<Request<Upload>, String> {
        let mut request = Request::from_parts(self.head.clone(), self.upload.clone());
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = self.path().clone().into();
        if !request.headers().contains_key(HOST) {
            let host = HeaderValue::from_str(self.authority()?.as_str());
            let host = host.map_err(|_| NO_HOST.to_owned())?;
            request.headers_mut().insert(HOST, host);
        }
        self.upload.begin(self.expects);
        if self.expects && !self.upload.is_over() {
            let upload = self.upload.clone();
            let expected = HeaderValue::from_static("100-continue");
            request.headers_mut().insert(EXPECT, expected);
            hyper::ext::on_informational(&mut request, move |response| {
                if response.status() == StatusCode::CONTINUE {
                    upload.wanted();
                }
            });
        }
        Ok(request)
    }

    /// The request for an HTTP/2 connection (RFC 9113, section 8.3.1).
    ///
    /// # Errors
    ///
    /// It names no host.
    pub(super) fn http2(&self, scheme: Scheme) -> Result<Request<Upload>, String> {
        let mut request = Request::from_parts(self.head.clone(), self.upload.clone());
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.absolute(scheme)?;
        let headers = request.headers_mut();
        headers.remove(HOST);
        headers.remove(CONNECTION);
        // gRPC servers take no client that does not say so, and the gateway hands trailers on.
        headers.insert(TE, HeaderValue::from_static("trailers"));
        self.upload.begin(false);
        Ok(request)
    }

    /// The request for WebSocket on an HTTP/2 connection (RFC 8441, section 5), and the key that has no place there.
    ///
    /// # Errors
    ///
    /// It names no host, has no key, or has content.
    pub(super) fn extended_connect(
        &self,
        scheme: Scheme,
    ) -> Result<(Request<()>, HeaderValue), String> {
        if !hyper::body::Body::is_end_stream(&self.upload) {
            return Err("a request for WebSocket has no content".to_owned());
        }
        let mut request = Request::from_parts(self.head.clone(), ());
        *request.method_mut() = Method::CONNECT;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.absolute(scheme)?;
        let websocket = h2::ext::Protocol::from_static("websocket");
        request.extensions_mut().insert(websocket);
        let headers = request.headers_mut();
        for name in [HOST, CONNECTION, UPGRADE, TE, CONTENT_LENGTH] {
            headers.remove(name);
        }
        let key = headers.remove(SEC_WEBSOCKET_KEY);
        Ok((request, key.ok_or("a request for WebSocket has its key")?))
    }

    fn absolute(&self, scheme: Scheme) -> Result<Uri, String> {
        let uri = Uri::builder().scheme(scheme).authority(self.authority()?);
        let uri = uri.path_and_query(self.path().clone()).build();
        uri.map_err(|error| error.to_string())
    }

    fn path(&self) -> &PathAndQuery {
        static ROOT: std::sync::LazyLock<PathAndQuery> =
            std::sync::LazyLock::new(|| PathAndQuery::from_static("/"));
        self.head.uri.path_and_query().unwrap_or(&ROOT)
    }

    fn authority(&self) -> Result<Authority, String> {
        let of_header = || {
            let host = self.head.headers.get(HOST)?;
            Authority::try_from(host.as_bytes()).ok()
        };
        let authority = self.head.uri.authority().cloned().or_else(of_header);
        authority.ok_or_else(|| NO_HOST.to_owned())
    }
}

/// What a failed attempt leaves of the hope in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It may have been acted on.
    Never,
    /// The upstream was not reached: another one may be.
    Elsewhere,
    /// The upstream cannot have acted on it, or may act on it twice.
    Here,
}

/// Why an attempt failed, and what may be done about it.
pub(super) struct Failed {
    pub(super) error: UpstreamError,
    pub(super) again: Again,
}

impl Failed {
    /// There was no connection to send it on.
    pub(super) fn unopened(error: UpstreamError) -> Self {
        let again = Again::Elsewhere;
        Self { error, again }
    }
}

impl From<UpstreamError> for Failed {
    fn from(error: UpstreamError) -> Self {
        let again = Again::Never;
        Self { error, again }
    }
}

const NO_HOST: &str = "it names no host";
