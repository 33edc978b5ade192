//! The thread on which a token is called: one session, one request after the other, and the way back when it is lost.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::connection::{Address, Connection, Fault};
use crate::module::Module;
use crate::pin::Pin;
use crate::{HsmError, TokenState};

/// A request: it is called once with a connection, or told why there is none.
pub(crate) type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// What the thread has.
pub(crate) struct Worker {
    module: Arc<Module>,
    address: Address,
    token: String,
    connection: Option<Connection>,
    refused: Option<Pin>,
    retry: Retry,
    state: watch::Sender<TokenState>,
}

impl Worker {
    /// Connects, for the first time.
    pub(crate) fn connect(
        module: Arc<Module>,
        address: Address,
        state: watch::Sender<TokenState>,
    ) -> Result<Self, HsmError> {
        let mut refused = None;
        let connection = Connection::open(&module, &address, &mut refused)?;
        Ok(Self {
            token: connection.token().to_owned(),
            connection: Some(connection),
            module,
            address,
            refused,
            retry: Retry::default(),
            state,
        })
    }

    /// The token's label.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Answers requests until nobody can ask any more. Between them it looks whether the token is there, and for one that
    /// is lost.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let pause = match self.connection {
                Some(_) => LOOK_AGAIN,
                None => self.retry.left(),
            };
            match jobs.recv_timeout(pause) {
                Ok(job) => job(&mut self),
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Does something with a connection. If the session turns out to be gone, it is tried once more with a new one.
    pub(crate) fn with<T>(
        &mut self,
        mut act: impl FnMut(&Module, &mut Connection) -> Result<T, Fault>,
    ) -> Result<T, HsmError> {
        let module = Arc::clone(&self.module);
        let first = match &mut self.connection {
            Some(connection) => act(&module, connection),
            None => return Err(self.lost()),
        };
        let cause = match first {
            Ok(done) => return Ok(done),
            Err(Fault::Final(error)) => return Err(error),
            Err(Fault::Lost(cause)) => cause,
        };
        self.lose(cause);
        self.reconnect();
        let second = match &mut self.connection {
            Some(connection) => act(&module, connection),
            None => return Err(self.lost()),
        };
        second.map_err(|fault| match fault {
            Fault::Final(error) => error,
            Fault::Lost(cause) => {
                self.lose(cause);
                self.lost()
            }
        })
    }

    fn look(&mut self) {
        match &self.connection {
            None => self.reconnect(),
            Some(connection) => {
                if let Err(Fault::Lost(cause)) = connection.look() {
                    self.lose(cause);
                    self.reconnect();
                }
            }
        }
    }

    fn reconnect(&mut self) {
        let opened = Connection::open(&self.module, &self.address, &mut self.refused);
        let opened = opened.or_else(|_| {
            // Some modules list a token that came back only after they were started again. The PIN is not at risk: it was
            // remembered if it was refused.
            let _ = self.module.start_again();
            Connection::open(&self.module, &self.address, &mut self.refused)
        });
        match opened {
            Ok(connection) => {
                self.connection = Some(connection);
                self.retry = Retry::default();
                self.state.send_replace(TokenState::Reachable);
            }
            Err(error) => {
                self.retry.failed();
                self.say_lost(error.to_string());
            }
        }
    }

    fn lose(&mut self, cause: String) {
        self.connection = None;
        self.retry.failed();
        self.say_lost(cause);
    }

    fn say_lost(&self, cause: String) {
        self.state.send_if_modified(|state| {
            let lost = TokenState::Lost { cause };
            let new = *state != lost;
            *state = lost;
            new
        });
    }

    fn lost(&self) -> HsmError {
        let cause = match &*self.state.borrow() {
            TokenState::Lost { cause } => cause.clone(),
            TokenState::Reachable => "its session ended".to_owned(),
        };
        let token = self.token.clone();
        HsmError::Lost { token, cause }
    }
}

/// When a lost token is looked for again.
struct Retry {
    pause: Duration,
    at: Instant,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            pause: FIRST_PAUSE,
            at: Instant::now(),
        }
    }
}

impl Retry {
    fn failed(&mut self) {
        self.at = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

/// A token that nobody asks is looked at this often, so that its loss is known before it is needed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Long enough that a broken network HSM is not beaten, short enough that nobody restarts the gateway meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
