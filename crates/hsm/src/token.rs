//! A token, open for as long as somebody holds it.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::connection::Address;
use crate::module::Module;
use crate::worker::{Job, Worker};
use crate::{HsmError, Pkcs11Uri};

/// A token that is logged in, called on a thread of its own. When it goes, it is looked for until it is back.
#[derive(Clone)]
pub struct Token(Arc<Inner>);

struct Inner {
    address: Address,
    label: String,
    queue: SyncSender<Job>,
    state: watch::Receiver<TokenState>,
}

/// Whether a token answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// It did, when it was last asked.
    Reachable,
    /// It is gone, and looked for.
    Lost {
        /// What was seen when it went, or when it was last looked for.
        cause: String,
    },
}

impl Token {
    /// Loads the module, finds the token that a URI names and logs in. The PIN is tried once; not at all where the token
    /// says that a wrong one could lock it. Blocks for as long as the module does.
    ///
    /// # Errors
    ///
    /// [`HsmError`]: nothing is retried here.
    pub fn open(uri: &Pkcs11Uri) -> Result<Self, HsmError> {
        let address = Address::of(uri);
        let module = Module::load(&address.module)?;
        let (told, state) = watch::channel(TokenState::Reachable);
        let (queue, jobs) = mpsc::sync_channel(QUEUE);
        let worker = Worker::connect(module, address.clone(), told)?;
        let label = worker.token().to_owned();
        let thread = thread::Builder::new().name("pkcs11".to_owned());
        let started = thread.spawn(move || worker.run(&jobs));
        started.map_err(|error| HsmError::Module {
            module: address.module.clone(),
            why: error.to_string(),
        })?;
        Ok(Self(Arc::new(Inner {
            address,
            label,
            queue,
            state,
        })))
    }

    /// Whether a URI names a key in this token, reached by the same module and PIN.
    pub fn holds(&self, uri: &Pkcs11Uri) -> bool {
        self.0.address == Address::of(uri)
    }

    /// The token's label.
    pub fn label(&self) -> &str {
        &self.0.label
    }

    /// Whether it answers; told of each change.
    pub fn state(&self) -> watch::Receiver<TokenState> {
        self.0.state.clone()
    }

    /// Has something done on the token's thread, and waits for it.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Worker) -> Result<T, HsmError> + Send + 'static,
    ) -> Result<T, HsmError> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.submit(Box::new(move |worker| {
            // Who asked may have gone.
            let _ = answer.send(act(worker));
        }))?;
        match answered.recv_timeout(PATIENCE) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(self.silent()),
        }
    }

    /// The same from a task. Whoever drops the future waits no longer.
    pub(crate) async fn ask_in_task<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Worker) -> Result<T, HsmError> + Send + 'static,
    ) -> Result<T, HsmError> {
        let (answer, answered) = oneshot::channel();
        self.submit(Box::new(move |worker| {
            if !answer.is_closed() {
                let _ = answer.send(act(worker));
            }
        }))?;
        answered.await.unwrap_or_else(|_| Err(self.silent()))
    }

    fn submit(&self, job: Job) -> Result<(), HsmError> {
        self.0.queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => HsmError::Busy {
                token: self.0.label.clone(),
                waiting: QUEUE,
            },
            TrySendError::Disconnected(_) => self.silent(),
        })
    }

    fn silent(&self) -> HsmError {
        HsmError::Silent {
            token: self.0.label.clone(),
            seconds: PATIENCE.as_secs(),
        }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({})", self.0.label)
    }
}

impl Address {
    fn of(uri: &Pkcs11Uri) -> Self {
        Self {
            module: uri.module.clone(),
            token: uri.token.clone(),
            pin_source: uri.pin_source.clone(),
        }
    }
}

/// Requests that may wait. At a millisecond each, the last one waits for a quarter of a second.
const QUEUE: usize = 256;

/// How long a caller waits for the module, which may be a network away.
const PATIENCE: Duration = Duration::from_secs(10);
