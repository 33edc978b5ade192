//! The thread that writes the file.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Health;
use super::queue::{Batch, Queue};

/// The file, and what is to be written to it.
pub(super) struct Writer {
    path: PathBuf,
    file: File,
    inode: (u64, u64),
    queue: Arc<Queue>,
    health: Arc<Health>,
    /// After a failure: when to try again.
    retry_at: Option<Instant>,
}

impl Writer {
    /// A writer of an open file.
    ///
    /// # Errors
    ///
    /// The file cannot be looked at.
    pub(super) fn new(
        path: &Path,
        file: File,
        queue: &Arc<Queue>,
        health: &Arc<Health>,
    ) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            inode: inode(&file.metadata()?),
            file,
            queue: Arc::clone(queue),
            health: Arc::clone(health),
            retry_at: None,
        })
    }

    /// Writes until the queue is closed. What cannot be written is kept and tried again each second, so that a disk that
    /// was full for a while costs nothing but what the queue could not hold.
    pub(super) fn run(mut self) {
        let mut batch = Batch::default();
        loop {
            let more = self.queue.take(&mut batch, self.retry_at);
            // At the end, with nothing left, the file is not looked at: whoever removes the folder now is not in its way.
            if !batch.is_empty() || more {
                self.write(&mut batch);
            }
            if !more {
                return;
            }
        }
    }

    fn write(&mut self, batch: &mut Batch) {
        match self.append(&batch.lines) {
            Ok(()) => {
                self.retry_at = None;
                self.health.failing.store(false, Ordering::Relaxed);
                batch.written();
            }
            Err(error) => {
                self.retry_at = Some(Instant::now() + RETRY);
                if !self.health.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(file = %self.path.display(), %error, "the audit trail cannot be written");
                }
                // Who waits is told now; the lines themselves are tried again.
                batch.waiters.clear();
            }
        }
    }

    /// All of the lines or nothing: a part that went out before an error is taken back.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.follow_rotation()?;
        let mut written = 0;
        let appended = self
            .write_all(lines, &mut written)
            .and_then(|()| self.file.sync_data());
        appended.or_else(|error| {
            let end = self.file.metadata()?.len();
            self.file.set_len(end.saturating_sub(written))?;
            Err(error)
        })
    }

    /// As the library's, and says how far it came.
    fn write_all(&mut self, mut lines: &[u8], written: &mut u64) -> io::Result<()> {
        while !lines.is_empty() {
            let more = match self.file.write(lines) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            *written += u64::try_from(more).unwrap_or(u64::MAX);
            lines = lines.split_at(more).1;
        }
        Ok(())
    }

    /// Whoever moved the file away (logrotate does) finds a new one begun.
    fn follow_rotation(&mut self) -> io::Result<()> {
        let there = std::fs::metadata(&self.path);
        if there.is_ok_and(|there| inode(&there) == self.inode) {
            return Ok(());
        }
        self.file = open_for_appending(&self.path)?;
        self.inode = inode(&self.file.metadata()?);
        Ok(())
    }
}

/// Opens the file, or begins it, and ends a line that a crash cut short.
///
/// # Errors
///
/// It cannot be opened, read or written.
pub(super) fn open_for_appending(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    if ends_inside_a_line(&mut file)? {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

fn ends_inside_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn inode(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// How soon a failed write is tried again.
const RETRY: Duration = Duration::from_secs(1);
