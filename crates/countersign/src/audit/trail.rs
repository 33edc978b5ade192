//! The file that the trail is in, and the thread that writes it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

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
    /// The trail was closed.
    #[error("the audit trail `{}` is closed", file.display())]
    Closed { file: PathBuf },
}

impl Report for AuditError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Mode { file, .. } => Some(format!("run `chmod 0600 {}`", file.display())),
            Self::Unwritable { .. } => {
                Some("free space on that file system; events that wait are written then".to_owned())
            }
            Self::Open { .. } | Self::Closed { .. } => None,
        }
    }
}

/// The trail, open for appending. Recording never waits for the disk, unless asked to.
#[derive(Debug)]
pub(crate) struct Audit {
    file: PathBuf,
    queue: SyncSender<Entry>,
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
        let (queue, entries) = sync_channel(QUEUE);
        let writer = Writer {
            path: file.to_owned(),
            handle,
            health: Arc::clone(&health),
            not_before: None,
        };
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&entries))
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

    /// Hands an event to the writer and returns at once.
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
        let queue = self.queue.clone();
        let entry = Entry {
            line: Vec::new(),
            written: Some(written),
        };
        let sent = tokio::task::spawn_blocking(move || queue.send(entry)).await;
        match sent {
            Ok(Ok(())) => wait.await.map_err(|_| self.unwritable()),
            _ => Err(AuditError::Closed {
                file: self.file.clone(),
            }),
        }
    }

    fn send(&self, event: Event, written: Option<oneshot::Sender<()>>) {
        let record = Record {
            at: Timestamp::now(),
            id: crate::random::id(),
            event,
        };
        let Ok(mut line) = serde_json::to_vec(&record) else {
            return self.health.lose(1);
        };
        line.push(b'\n');
        match self.queue.try_send(Entry { line, written }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.health.lose(1),
        }
    }

    fn unwritable(&self) -> AuditError {
        AuditError::Unwritable {
            file: self.file.clone(),
            lost: self.lost(),
        }
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
    fn lose(&self, events: u64) {
        self.lost.fetch_add(events, Ordering::Relaxed);
        self.failing.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Entry {
    /// Empty: only a wait for those before it.
    line: Vec<u8>,
    /// Told once the line is on disk; dropped if it never will be.
    written: Option<oneshot::Sender<()>>,
}

struct Writer {
    path: PathBuf,
    handle: File,
    health: Arc<Health>,
    /// After a failure: when to try again.
    not_before: Option<Instant>,
}

impl Writer {
    /// Writes until every sender is gone. What cannot be written is kept and tried again each second, so that a disk
    /// that was full for a while costs nothing but what the queue could not hold.
    fn run(mut self, entries: &Receiver<Entry>) {
        let mut kept: Vec<Entry> = Vec::new();
        loop {
            match entries.recv_timeout(RETRY) {
                Ok(entry) => kept.push(entry),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    // With nothing left, the file is not looked at: whoever removes the folder now is not in its way.
                    if !kept.is_empty() {
                        self.write(&mut kept);
                    }
                    return;
                }
            }
            kept.extend(entries.try_iter().take(BATCH));
            if self.is_due(&kept) {
                self.write(&mut kept);
            }
            self.forget_beyond_limit(&mut kept);
        }
    }

    /// A failed write is not tried again for each event that comes, unless someone waits for the answer.
    fn is_due(&self, kept: &[Entry]) -> bool {
        let waiting = self.not_before.is_some_and(|at| Instant::now() < at);
        !kept.is_empty() && (!waiting || kept.iter().any(|entry| entry.written.is_some()))
    }

    fn write(&mut self, kept: &mut Vec<Entry>) {
        match self.append(kept) {
            Ok(()) => {
                self.not_before = None;
                self.health.failing.store(false, Ordering::Relaxed);
                for entry in kept.drain(..) {
                    // A waiter that went away has no use for the answer.
                    entry.written.map(|written| written.send(()));
                }
            }
            Err(error) => {
                self.not_before = Some(Instant::now() + RETRY);
                if !self.health.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(file = %self.path.display(), %error, "the audit trail cannot be written");
                }
                // Who waits is told now; the line itself is tried again.
                kept.iter_mut().for_each(|entry| drop(entry.written.take()));
                kept.retain(|entry| !entry.line.is_empty());
            }
        }
    }

    /// All of the batch or nothing: a part that went out before an error is taken back.
    fn append(&mut self, batch: &[Entry]) -> io::Result<()> {
        self.follow_rotation()?;
        let bytes: Vec<u8> = batch
            .iter()
            .flat_map(|entry| &entry.line)
            .copied()
            .collect();
        let before = self.handle.metadata()?.len();
        let written = self
            .handle
            .write_all(&bytes)
            .and_then(|()| self.handle.sync_data());
        written.or_else(|error| {
            self.handle.set_len(before)?;
            Err(error)
        })
    }

    /// Whoever moved the file away (logrotate does) finds a new one begun.
    fn follow_rotation(&mut self) -> io::Result<()> {
        let ours = self.handle.metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => Ok(()),
            Ok(_) | Err(_) => {
                self.handle = open_for_appending(&self.path)?;
                Ok(())
            }
        }
    }

    fn forget_beyond_limit(&self, kept: &mut Vec<Entry>) {
        let beyond = kept.len().saturating_sub(QUEUE);
        if beyond > 0 {
            kept.truncate(QUEUE);
            self.health.lose(u64::try_from(beyond).unwrap_or(u64::MAX));
        }
    }
}

fn open_for_appending(file: &Path) -> io::Result<File> {
    let mut handle = OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .mode(0o600)
        .open(file)?;
    if ends_inside_a_line(&mut handle)? {
        handle.write_all(b"\n")?;
    }
    Ok(handle)
}

fn ends_inside_a_line(handle: &mut File) -> io::Result<bool> {
    if handle.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    handle.seek(SeekFrom::End(-1))?;
    handle.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Events that may wait for the disk: 8 MiB at 1 KiB each.
const QUEUE: usize = 8192;

/// How many more events are taken up before the next `fdatasync`.
const BATCH: usize = 512;

/// How soon a failed write is tried again.
const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
