//! The layer, from a request's header to the proof in its extensions.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use countersign_paseto::{Rules, TokenError, Verified};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Request, Response};
use jiff::Timestamp;
use pin_project_lite::pin_project;
use serde::de::DeserializeOwned;
use tower_layer::Layer;
use tower_service::Service;

use crate::auth::Auth;
use crate::keys::Keys;
use crate::refused::Refused;

/// Lets requests in whose bearer token verifies, with an [`Auth<C>`] in their extensions, and answers the others.
///
/// ```
/// use std::sync::Arc;
/// use countersign_paseto::{Key, KeyRing, KeySet, Local, Rules, SystemRandom, V4, Window};
/// use countersign_paseto_http::VerifyLayer;
/// use jiff::Timestamp;
///
/// #[derive(serde::Deserialize)]
/// struct Session { role: String }
///
/// let key = Key::<V4, Local>::generate(&SystemRandom)?;
/// let ring = Arc::new(KeyRing::new(KeySet::new().with(key, Window::from(Timestamp::now()))));
/// let layer = VerifyLayer::<Session>::new(ring, Rules::new().audience("api.example.org"), Timestamp::now)
///     .realm("api.example.org")
///     .on_refusal(|refused, request| eprintln!("{} {}: {refused}", request.method, request.uri));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct VerifyLayer<C> {
    verify: Arc<VerifyToken<C>>,
    clock: Arc<Clock>,
    on_refusal: Arc<OnRefusal>,
    rules: Rules,
    assertion: Vec<u8>,
    /// Where the token is, alone; `None` is `Authorization`, where it follows its scheme.
    header: Option<HeaderName>,
    realm: Option<Arc<str>>,
    optional: bool,
}

type VerifyToken<C> =
    dyn Fn(&str, &[u8], &Rules, Timestamp) -> Result<Verified<C>, TokenError> + Send + Sync;
type Clock = dyn Fn() -> Timestamp + Send + Sync;
type OnRefusal = dyn Fn(&Refused, &Parts) + Send + Sync;

impl<C: DeserializeOwned> VerifyLayer<C> {
    /// A layer that verifies with `keys` by `rules`, at the time that `clock` tells.
    pub fn new(
        keys: impl Keys,
        rules: Rules,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Self {
        Self {
            verify: Arc::new(move |token, assertion, rules, now| {
                keys.verify(token, assertion, rules, now)
            }),
            clock: Arc::new(clock),
            on_refusal: Arc::new(|_, _| ()),
            rules,
            assertion: Vec::new(),
            header: None,
            realm: None,
            optional: false,
        }
    }
}

impl<C> VerifyLayer<C> {
    /// Names the implicit assertion that the minter used.
    #[must_use]
    pub fn asserting(mut self, assertion: impl Into<Vec<u8>>) -> Self {
        self.assertion = assertion.into();
        self
    }

    /// Takes the token from this header, which holds it alone, and not from `Authorization`.
    #[must_use]
    pub fn header(mut self, name: HeaderName) -> Self {
        self.header = Some(name);
        self
    }

    /// Names the realm in challenges (RFC 9110 section 11.5). Characters that a quoted string cannot hold plainly are left out.
    #[must_use]
    pub fn realm(mut self, realm: &str) -> Self {
        let plain = |c: &char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
        self.realm = Some(realm.chars().filter(plain).collect::<String>().into());
        self
    }

    /// Lets requests without a token in, without a proof. A token that is bad is refused all the same.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Calls `log` with each refusal and the request that it is of, whose header with the token is marked as sensitive.
    #[must_use]
    pub fn on_refusal(mut self, log: impl Fn(&Refused, &Parts) + Send + Sync + 'static) -> Self {
        self.on_refusal = Arc::new(log);
        self
    }

    /// Puts the proof into the request's extensions.
    fn admit(&self, parts: &mut Parts) -> Result<(), Refused>
    where
        C: Send + Sync + 'static,
    {
        // What another layer left behind is no proof by these rules.
        parts.extensions.remove::<Auth<C>>();
        match self.token(&parts.headers)? {
            None if self.optional => {
                parts.extensions.insert(Passed {
                    realm: self.realm.clone(),
                });
            }
            None => return Err(Refused::NoToken),
            Some(token) => {
                let now = (self.clock)();
                let verified = (self.verify)(token, &self.assertion, &self.rules, now)?;
                parts.extensions.insert(Auth(Arc::new(verified)));
            }
        }
        Ok(())
    }

    /// The token, if the request has one; credentials of another scheme are none.
    fn token<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h str>, Refused> {
        let mut values = headers.get_all(self.header_name()).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        match values.count() {
            // What is no text is no token.
            0 => Ok(self.alone(value.to_str().unwrap_or_default())),
            others => Err(Refused::Several { found: 1 + others }),
        }
    }

    fn alone<'h>(&self, value: &'h str) -> Option<&'h str> {
        if self.header.is_some() {
            return Some(value);
        }
        let (scheme, token) = value.split_once(' ')?;
        // RFC 9110 section 11.4: the scheme in any case, then one space or more.
        let bearer = scheme.eq_ignore_ascii_case("bearer");
        bearer.then(|| token.trim_start_matches(' '))
    }

    fn header_name(&self) -> &HeaderName {
        self.header.as_ref().unwrap_or(&AUTHORIZATION)
    }

    fn hide_token(&self, headers: &mut HeaderMap) {
        if let http::header::Entry::Occupied(mut values) = headers.entry(self.header_name()) {
            values
                .iter_mut()
                .for_each(|value| value.set_sensitive(true));
        }
    }
}

impl<C> Clone for VerifyLayer<C> {
    fn clone(&self) -> Self {
        Self {
            verify: Arc::clone(&self.verify),
            clock: Arc::clone(&self.clock),
            on_refusal: Arc::clone(&self.on_refusal),
            rules: self.rules.clone(),
            assertion: self.assertion.clone(),
            header: self.header.clone(),
            realm: self.realm.clone(),
            optional: self.optional,
        }
    }
}

impl<C> fmt::Debug for VerifyLayer<C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("VerifyLayer")
            .field("rules", &self.rules)
            .field("header", self.header_name())
            .field("optional", &self.optional)
            .finish_non_exhaustive()
    }
}

impl<S, C> Layer<S> for VerifyLayer<C> {
    type Service = Verify<S, C>;

    fn layer(&self, inner: S) -> Verify<S, C> {
        Verify {
            inner,
            layer: Arc::new(self.clone()),
        }
    }
}

/// What [`VerifyLayer::optional`] leaves where there was no token: what the request would have been refused with.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(feature = "axum"),
    expect(dead_code, reason = "the extractor reads it")
)]
pub(crate) struct Passed {
    pub(crate) realm: Option<Arc<str>>,
}

/// The service that [`VerifyLayer`] makes.
#[derive(Debug)]
pub struct Verify<S, C> {
    inner: S,
    layer: Arc<VerifyLayer<C>>,
}

impl<S: Clone, C> Clone for Verify<S, C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            layer: Arc::clone(&self.layer),
        }
    }
}

impl<S, C, B, R> Service<Request<B>> for Verify<S, C>
where
    S: Service<Request<B>, Response = Response<R>>,
    C: Send + Sync + 'static,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = VerifyFuture<S::Future, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let admitted = self.layer.admit(&mut parts);
        self.layer.hide_token(&mut parts.headers);
        let state = match admitted {
            Ok(()) => State::Admitted {
                answer: self.inner.call(Request::from_parts(parts, body)),
            },
            Err(refused) => {
                (self.layer.on_refusal)(&refused, &parts);
                let response = Some(refused.response(self.layer.realm.as_deref()));
                State::Refused { response }
            }
        };
        VerifyFuture { state }
    }
}

pin_project! {
    /// The answer of a [`Verify`] service: the inner one's, or the refusal.
    pub struct VerifyFuture<F, R> {
        #[pin]
        state: State<F, R>,
    }
}

pin_project! {
    #[project = StateNow]
    enum State<F, R> {
        Admitted { #[pin] answer: F },
        Refused { response: Option<Response<R>> },
    }
}

impl<F, R, E> Future for VerifyFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match self.project().state.project() {
            StateNow::Admitted { answer } => ready!(answer.poll(context)),
            StateNow::Refused { response } => Ok(response.take().expect("a future answers once")),
        };
        Poll::Ready(answer)
    }
}
