//! One gateway per database: a lock on a file beside it, which the kernel lets go of when the process ends, however
//! it ends.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::StoreError;

/// Held as long as the database is open.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock for a database, and writes this process's id into it for whoever comes second.
    ///
    /// # Errors
    ///
    /// [`StoreError::InUse`] with the holder's process id; or the lock file cannot be written.
    pub(crate) fn take(database: &Path) -> Result<Self, StoreError> {
        let path = lock_path(database);
        let failed = |action| {
            let path = path.clone();
            move |source| StoreError::File {
                action,
                file: path,
                source,
            }
        };
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let file = database.to_owned();
                return Err(StoreError::InUse {
                    file,
                    holder: holder(&path),
                });
            }
            Err(error) => return Err(failed("lock")(error.into())),
        }
        write_own_id(&mut file).map_err(failed("write"))?;
        Ok(Self { _file: file })
    }
}

/// `gateway.db` is locked by `gateway.db.lock`.
fn lock_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    PathBuf::from(path)
}

fn write_own_id(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// The holder may be between taking the lock and writing its id.
fn holder(path: &Path) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(20).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}
