//! Programs that run beside a test, and programs that a test waits for.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::wait_until;

/// A program that runs beside the test; it ends with this guard.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    end: Signal,
}

impl Process {
    /// Starts a program; what it prints is appended to `log`.
    #[track_caller]
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self {
            child,
            log: log.to_owned(),
            end: Signal::TERM,
        }
    }

    /// Which signal the guard ends the program with; `SIGTERM` otherwise.
    pub(crate) fn ended_by(mut self, signal: Signal) -> Self {
        self.end = signal;
        self
    }

    /// What the program printed up to now.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether the program still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_none()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // An error says that it has ended already.
        let _ = kill_process(pid.expect("a process id"), signal);
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the program ends by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_until("the program ends", || {
            self.child.try_wait().expect("our own child")
        })
    }

    /// Waits until the program ends by itself and in failure, and gives what it printed.
    #[track_caller]
    pub(crate) fn log_of_failure(mut self) -> String {
        let status = self.wait();
        let log = self.log();
        assert!(!status.success(), "it ended well:\n{log}");
        log
    }

    /// Kills the program as a power cut would.
    pub(crate) fn kill(mut self) {
        self.end = Signal::KILL;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_running() {
            return;
        }
        self.signal(self.end);
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.wait()));
        if ended.is_err() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// What a program that has ended did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The standard output of a program that must have succeeded.
    #[track_caller]
    pub(crate) fn succeeded(self) -> String {
        assert!(self.status.success(), "{self:#?}");
        self.stdout
    }

    /// The standard error of a program that must have failed.
    #[track_caller]
    pub(crate) fn failed(self) -> String {
        assert!(!self.status.success(), "{self:#?}");
        self.stderr
    }
}

/// Runs a program to its end, with `input` on its standard input.
#[track_caller]
pub(crate) fn run(command: &mut Command, input: impl AsRef<[u8]>) -> Ran {
    let (mut stdout, mut stderr) = (temporary(), temporary());
    let child = command
        .stdin(Stdio::piped())
        .stdout(stdout.try_clone().expect("a second handle"))
        .stderr(stderr.try_clone().expect("a second handle"))
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let mut child = Waited(child);
    let mut stdin = child.0.stdin.take().expect("piped");
    // A program that does not read all of it is no error here.
    let _ = stdin.write_all(input.as_ref());
    drop(stdin);
    let status = wait_until(&format!("{command:?} ends"), || {
        child.0.try_wait().expect("our own child")
    });
    Ran {
        status,
        stdout: read_back(&mut stdout),
        stderr: read_back(&mut stderr),
    }
}

/// A child that does not outlive a test that lost its patience.
struct Waited(Child);

impl Drop for Waited {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn temporary() -> File {
    tempfile::tempfile().expect("a temporary file")
}

fn read_back(file: &mut File) -> String {
    use std::io::{Read, Seek};
    file.rewind().expect("a file can be rewound");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("our own file");
    String::from_utf8_lossy(&bytes).into_owned()
}
