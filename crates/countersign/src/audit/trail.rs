//! The file that the trail is in: who records waits in a queue, and a thread writes what it gathered.

mod queue;
mod writer;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use self::queue::{Full, Queue, Waiter};
use self::writer::{Writer, open_for_appending};
use super::Event;
use crate::report::Report;

/// One line of the trail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) at: Timestamp,
    /// Unique over all gateways: 128 random bits in hexadecimal.
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// What happens to new streams while the trail cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WhenUnwritable {
    /// They are refused.
    #[default]
    Refuse,
    /// They are allowed; events that could not be kept are counted.
    Allow,
}

/// Why the trail cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AuditError {
    /// The file could not be opened or read at start.
    #[error("cannot open the audit trail `{}`", file.display())]
    Open { file: PathBuf, source: io::Error },
    /// Others may read or change the trail.
    #[error("the audit trail `{}` has mode {mode:04o}, which lets others at it", file.display())]
    Mode { file: PathBuf, mode: u32 },
    /// The last write failed, or events came faster than the disk took them.
    #[error("the audit trail `{}` cannot be written: {} events were lost so far", file.display(), lost)]
    Unwritable { file: PathBuf, lost: u64 },
}

impl Report for AuditError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Mode { file, .. } => Some(format!("run `chmod 0600 {}`", file.display())),
            Self::Unwritable { .. } => {
                Some("free space on that file system; events that wait are written then".to_owned())
            }
            Self::Open { .. } => None,
        }
    }
}

/// The trail, open for appending. Recording never waits for the disk, unless asked to.
#[derive(Debug)]
pub(crate) struct Audit {
    file: PathBuf,
    queue: Arc<Queue>,
    health: Arc<Health>,
    refuses: AtomicBool,
}

impl Audit {
    /// Opens the trail, or begins it with mode 0600. A last line that a crash cut short is ended, and stays.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or others may read it.
    pub(crate) fn open(file: &Path, when_unwritable: WhenUnwritable) -> Result<Self, AuditError> {
        let open_error = |source| AuditError::Open {
            file: file.to_owned(),
            source,
        };
        let handle = open_for_appending(file).map_err(open_error)?;
        let mode = handle.metadata().map_err(open_error)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(AuditError::Mode {
                file: file.to_owned(),
                mode,
            });
        }
        let health = Arc::new(Health::default());
        let queue = Arc::new(Queue::default());
        let writer = Writer::new(file, handle, &queue, &health).map_err(open_error)?;
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run())
            .map_err(open_error)?;
        Ok(Self {
            file: file.to_owned(),
            queue,
            health,
            refuses: AtomicBool::new(when_unwritable == WhenUnwritable::Refuse),
        })
    }

    /// Takes another answer to the question what happens to new streams while the trail cannot be written.
    pub(crate) fn change(&self, when_unwritable: WhenUnwritable) {
        let refuses = when_unwritable == WhenUnwritable::Refuse;
        self.refuses.store(refuses, Ordering::Relaxed);
    }

    /// Hands an event to the writer and returns at once. It is on disk soon: within some milliseconds and a write.
    pub(crate) fn record(&self, event: Event) {
        self.send(event, None);
    }

    /// Records an event and waits until it is on disk: for what must not be lost once it is acknowledged.
    ///
    /// # Errors
    ///
    /// The event is not on disk.
    pub(crate) async fn record_durably(&self, event: Event) -> Result<(), AuditError> {
        let (written, wait) = oneshot::channel();
        self.send(event, Some(written));
        match wait.await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.unwritable()),
        }
    }

    /// Whether a new stream may be opened, or an agent let in, as far as the trail goes.
    ///
    /// # Errors
    ///
    /// The trail cannot be written and was set to refuse then.
    pub(crate) fn ready(&self) -> Result<(), AuditError> {
        let failing = self.health.failing.load(Ordering::Relaxed);
        if failing && self.refuses.load(Ordering::Relaxed) {
            return Err(self.unwritable());
        }
        Ok(())
    }

    /// How many events could not be kept.
    pub(crate) fn lost(&self) -> u64 {
        self.health.lost.load(Ordering::Relaxed)
    }

    /// Waits until all that was recorded is on disk.
    ///
    /// # Errors
    ///
    /// It is not.
    pub(crate) async fn flush(&self) -> Result<(), AuditError> {
        let (written, wait) = oneshot::channel();
        self.enqueue(&[], Some(written));
        wait.await.map_err(|_| self.unwritable())
    }

    fn send(&self, event: Event, written: Option<Waiter>) {
        let record = Record {
            at: Timestamp::now(),
            id: crate::random::id(),
            event,
        };
        let Ok(mut line) = serde_json::to_vec(&record) else {
            return self.health.lose();
        };
        line.push(b'\n');
        self.enqueue(&line, written);
    }

    fn enqueue(&self, line: &[u8], written: Option<Waiter>) {
        if let Err(Full) = self.queue.push(line, written) {
            self.health.lose();
        }
    }

    fn unwritable(&self) -> AuditError {
        AuditError::Unwritable {
            file: self.file.clone(),
            lost: self.lost(),
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Reads a trail: each whole line, in order. A line that a crash cut short is left out.
///
/// # Errors
///
/// The file cannot be read.
#[cfg(test)]
pub(crate) fn read(file: &Path) -> io::Result<Vec<Record>> {
    let text = std::fs::read_to_string(file)?;
    Ok(text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

#[derive(Debug, Default)]
struct Health {
    failing: AtomicBool,
    lost: AtomicU64,
}

impl Health {
    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.failing.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
