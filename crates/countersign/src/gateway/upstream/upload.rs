//! A request's body on its way into a connection. What was taken of it decides whether the request may be sent again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::gateway::exchange::{Body, BodyFault};

/// A request's body, of which the connection that carries it has one clone and whoever waits for the answer another.
#[derive(Clone)]
pub(super) struct Upload {
    state: Arc<Mutex<State>>,
}

struct State {
    body: Body,
    gate: Gate,
    taken: bool,
    over: bool,
    /// Whether the connection would take more than the client has sent.
    awaits_client: bool,
    moved: Instant,
    fault: Option<BodyFault>,
    waker: Option<Waker>,
}

/// What keeps a body back until the service has said that it wants it (RFC 9110, section 10.1.1).
enum Gate {
    Open,
    Waiting(Pin<Box<Sleep>>),
    Shut,
}

impl Upload {
    pub(super) fn new(body: Body) -> Self {
        let over = hyper::body::Body::is_end_stream(&body);
        let state = State {
            body,
            gate: Gate::Open,
            taken: false,
            over,
            awaits_client: false,
            moved: Instant::now(),
            fault: None,
            waker: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Begins an attempt to send it; `gated`, nothing of it is taken before the service wants it, or has said nothing
    /// for [`CONTINUE_WAIT`].
    pub(super) fn begin(&self, gated: bool) {
        let mut state = self.state();
        state.moved = Instant::now();
        state.gate = match gated && !state.over {
            true => Gate::Waiting(Box::pin(tokio::time::sleep(CONTINUE_WAIT))),
            false => Gate::Open,
        };
    }

    /// The service wants it.
    pub(super) fn wanted(&self) {
        let mut state = self.state();
        if matches!(state.gate, Gate::Waiting(_)) {
            state.gate = Gate::Open;
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        }
    }

    /// The service has answered: who has not asked for it by then will not.
    pub(super) fn answered(&self) {
        let mut state = self.state();
        if matches!(state.gate, Gate::Waiting(_)) {
            state.gate = Gate::Shut;
        }
    }

    /// Whether all of it is as it was.
    pub(super) fn is_untouched(&self) -> bool {
        !self.state().taken
    }

    /// Whether it was taken to its end.
    pub(super) fn is_over(&self) -> bool {
        self.state().over
    }

    /// What the client's end of it failed with.
    pub(super) fn fault(&self) -> Option<BodyFault> {
        self.state().fault.clone()
    }

    /// When it is to be asked again whether the service has done nothing for `limit`; none if it has not. What the
    /// client is waited for is not held against the service.
    pub(super) fn patience(&self, limit: Duration) -> Option<Instant> {
        let (state, now) = (self.state(), Instant::now());
        let until = match state.awaits_client {
            true => now + limit,
            false => state.moved + limit,
        };
        (until > now).then_some(until)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A body that panicked is not polled again: hyper ends its connection.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn poll_gate(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.gate {
            Gate::Open => return Poll::Ready(()),
            Gate::Shut => return Poll::Pending,
            Gate::Waiting(wait) => {
                if wait.as_mut().poll(cx).is_pending() {
                    self.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
        self.gate = Gate::Open;
        Poll::Ready(())
    }
}

impl hyper::body::Body for Upload {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let state = &mut *self.state();
        ready!(state.poll_gate(cx));
        let frame = Pin::new(&mut state.body).poll_frame(cx);
        state.awaits_client = frame.is_pending();
        let frame = ready!(frame);
        state.moved = Instant::now();
        match &frame {
            None => state.over = true,
            Some(Ok(frame)) => {
                state.taken = true;
                state.over = frame.is_trailers() || hyper::body::Body::is_end_stream(&state.body);
            }
            Some(Err(fault)) => {
                state.taken = true;
                state.fault = Some(fault.clone());
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        hyper::body::Body::is_end_stream(&self.state().body)
    }

    fn size_hint(&self) -> SizeHint {
        hyper::body::Body::size_hint(&self.state().body)
    }
}

/// How long a service that is asked first may take to say that it wants a body. Many never do, and it must not cost more
/// than it is worth.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);
