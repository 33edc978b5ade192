//! What is made of files, and made again when they change: no signal is needed, and what cannot be made leaves the one
//! before in use.
//!
//! Files are told apart by what the system says of them, through symbolic links: one that is replaced, written over,
//! given another mode, or behind a link that was swapped (as Kubernetes does it) looks different. What looks different
//! is read once it has looked the same twice, since a writer may be in the middle of it.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::report::{Failure, Report};

/// Something that was made of files.
#[derive(Debug)]
pub(crate) struct FromFiles<T> {
    files: Vec<PathBuf>,
    /// How the files looked just before they were last read.
    read: Looks,
    /// How they looked last.
    seen: Looks,
    current: T,
    problem: Option<Problem>,
}

/// Why files cannot be used, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) since: Timestamp,
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

/// What came of a look at the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing new.
    Same,
    /// What is in use is new; there was a problem before if this is true.
    Taken { well_again: bool },
    /// What is in use stays, for this reason.
    Refused(Problem),
}

impl<T> FromFiles<T> {
    /// Makes it for the first time.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub(crate) fn read<E>(
        files: Vec<PathBuf>,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Self, E> {
        // First the look, then the reading: what changes between them is seen at the next look.
        let looks = looks(&files);
        Ok(Self {
            current: make()?,
            read: looks.clone(),
            seen: looks,
            files,
            problem: None,
        })
    }

    /// What is in use.
    pub(crate) const fn current(&self) -> &T {
        &self.current
    }

    /// Why the files as they are now are not in use, if they are not.
    pub(crate) const fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }

    /// Looks at the files, and makes it again if they have changed. While there is a problem each look tries again, and
    /// tells of it only if it is another one.
    pub(crate) fn look<E: Report>(
        &mut self,
        now: Timestamp,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Look {
        let looks = looks(&self.files);
        let at_rest = looks == self.seen;
        self.seen.clone_from(&looks);
        if !at_rest || (looks == self.read && self.problem.is_none()) {
            return Look::Same;
        }
        self.read = looks;
        match make() {
            Ok(made) => {
                self.current = made;
                let well_again = self.problem.take().is_some();
                Look::Taken { well_again }
            }
            Err(error) => self.refuse(Problem::of(error, now)),
        }
    }

    fn refuse(&mut self, mut problem: Problem) -> Look {
        if let Some(known) = &self.problem {
            if known.what == problem.what {
                return Look::Same;
            }
            problem.since = known.since;
        }
        self.problem = Some(problem.clone());
        Look::Refused(problem)
    }
}

impl Problem {
    /// What is told of an error.
    pub(crate) fn of(error: impl Report, now: Timestamp) -> Self {
        let failure = Failure::from(error);
        Self {
            since: now,
            what: failure.to_string(),
            hint: failure.hint(),
        }
    }
}

type Looks = Vec<Option<Identity>>;

/// What the system says of a file: device, inode, size, mode, owner, and when its content and it itself last changed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    place: (u64, u64),
    size: u64,
    access: (u32, u32, u32),
    modified: (i64, i64),
    changed: (i64, i64),
}

fn looks(files: &[PathBuf]) -> Looks {
    let look = |file: &PathBuf| {
        let metadata = std::fs::metadata(file).ok()?;
        Some(Identity {
            place: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            access: (metadata.mode(), metadata.uid(), metadata.gid()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    };
    files.iter().map(look).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// A number in a file, reached through a link to a folder, as in a Kubernetes volume.
    struct Volume {
        folder: TempDir,
        number: FromFiles<u32>,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("`{0}` is no number")]
    struct NoNumber(String);

    impl Report for NoNumber {}

    fn number(file: &std::path::Path) -> Result<u32, NoNumber> {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.parse().map_err(|_| NoNumber(text))
    }

    impl Volume {
        fn new() -> Self {
            let folder = TempDir::new().unwrap();
            write(&folder, "1", "one");
            symlink("one", folder.path().join("data")).unwrap();
            let file = folder.path().join("data/number");
            let number = FromFiles::read(vec![file.clone()], || number(&file)).unwrap();
            Self { folder, number }
        }

        fn look(&mut self) -> Look {
            let file = self.folder.path().join("data/number");
            self.number.look(Timestamp::UNIX_EPOCH, || number(&file))
        }

        fn write(&self, text: &str) {
            write(&self.folder, text, "one");
        }
    }

    fn write(folder: &TempDir, text: &str, into: &str) {
        std::fs::create_dir_all(folder.path().join(into)).unwrap();
        std::fs::write(folder.path().join(into).join("number"), text).unwrap();
    }

    const TAKEN: Look = Look::Taken { well_again: false };

    #[test]
    fn files_that_stay_as_they_are_are_read_once() {
        let mut volume = Volume::new();
        assert_eq!([volume.look(), volume.look()], [Look::Same, Look::Same]);
    }

    #[test]
    fn a_change_is_taken_once_it_rests() {
        let mut volume = Volume::new();
        volume.write("23");
        assert_eq!((volume.look(), *volume.number.current()), (Look::Same, 1));
        volume.write("234");
        assert_eq!((volume.look(), *volume.number.current()), (Look::Same, 1));
        assert_eq!((volume.look(), *volume.number.current()), (TAKEN, 234));
        assert_eq!(volume.look(), Look::Same);
    }

    #[test]
    fn a_link_that_is_swapped_is_a_change() {
        let mut volume = Volume::new();
        write(&volume.folder, "2", "two");
        let data = volume.folder.path().join("data");
        symlink("two", data.with_extension("new")).unwrap();
        std::fs::rename(data.with_extension("new"), data).unwrap();
        assert_eq!([volume.look(), volume.look()], [Look::Same, TAKEN]);
        assert_eq!(*volume.number.current(), 2);
    }

    #[test]
    fn what_cannot_be_made_is_told_once_and_the_one_before_stays() {
        let mut volume = Volume::new();
        volume.write("x y");
        let refused = Look::Refused(Problem {
            since: Timestamp::UNIX_EPOCH,
            what: "`x y` is no number".to_owned(),
            hint: None,
        });
        assert_eq!(
            [volume.look(), volume.look(), volume.look()],
            [Look::Same, refused, Look::Same]
        );
        assert_eq!(*volume.number.current(), 1);
        assert!(volume.number.problem().is_some());
        volume.write("33");
        let well_again = Look::Taken { well_again: true };
        assert_eq!([volume.look(), volume.look()], [Look::Same, well_again]);
        assert_eq!(*volume.number.current(), 33);
        assert!(volume.number.problem().is_none());
    }

    #[test]
    fn a_file_that_goes_and_comes_back_is_the_same_problem_until_it_is_back() {
        let mut volume = Volume::new();
        std::fs::remove_file(volume.folder.path().join("one/number")).unwrap();
        assert_eq!(volume.look(), Look::Same);
        assert!(matches!(volume.look(), Look::Refused(_)));
        volume.write("1");
        let well_again = Look::Taken { well_again: true };
        assert_eq!([volume.look(), volume.look()], [Look::Same, well_again]);
    }
}
