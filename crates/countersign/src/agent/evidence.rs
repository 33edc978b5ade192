//! The program that an operator names for a confidential guest: it asks the hardware, and the agent shows what it prints.
//!
//! There is no device code here. The program gets the 64 bytes that tie evidence to one channel, and prints what its hardware signed
//! over them. Certificates and collateral, which stay the same for weeks, are files beside it.

use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use countersign_attest::{Evidence, EvidenceError};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::attestation::wire::{Bytes, GuestEvidence};
use crate::config::EvidenceConfig;
use crate::report::printable;

/// The program, and the files that are shown beside what it prints.
#[derive(Debug)]
pub(crate) struct EvidenceCommand {
    config: EvidenceConfig,
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CommandError {
    /// The program cannot be started.
    #[error("cannot run `{program}` for evidence: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It says that it failed.
    #[error("`{program}` gave no evidence: {how}{said}")]
    Failed {
        /// The program.
        program: String,
        /// Its exit status or its signal.
        how: String,
        /// The last line that it wrote to standard error, after a colon.
        said: String,
    },
    /// It takes too long.
    #[error("`{program}` gave no evidence within {limit:?}, and was ended")]
    TooSlow {
        /// The program.
        program: String,
        /// The limit.
        limit: Duration,
    },
    /// It prints more than any evidence has.
    #[error("`{program}` printed more than {LONGEST} bytes, which no evidence has")]
    TooLong {
        /// The program.
        program: String,
    },
    /// What it prints is something else.
    #[error("what `{program}` printed is no evidence: {reason}")]
    Unknown {
        /// The program.
        program: String,
        /// What is wrong with it.
        reason: EvidenceError,
    },
    /// A file that is shown beside the evidence cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Beside {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The program is stopping.
    #[error("no evidence was asked for: the agent is stopping")]
    Stopping,
}

impl CommandError {
    /// What to do about it.
    pub(crate) fn remedy(&self) -> Option<String> {
        let remedy = match self {
            Self::Start { .. } => {
                "`evidence.command` names a program and its arguments, and no shell reads them"
            }
            Self::Failed { .. } | Self::TooLong { .. } | Self::Unknown { .. } => {
                "run it as the agent's user: it gets 64 bytes on standard input, and prints evidence over them and nothing else"
            }
            Self::TooSlow { .. } => {
                "run it by hand to see what it waits for; `evidence.time_limit` may be up to 25s"
            }
            Self::Beside { .. } => "name it in `[evidence]` as the agent's user can read it",
            Self::Stopping => return None,
        };
        Some(remedy.to_owned())
    }
}

impl EvidenceCommand {
    pub(crate) fn new(config: EvidenceConfig) -> Self {
        Self { config }
    }

    /// Runs the program for evidence over these bytes, and reads the files to be shown beside it. It blocks.
    ///
    /// # Errors
    ///
    /// [`CommandError`] says what the program did instead, or which file cannot be read.
    pub(crate) fn evidence(&self, report_data: &[u8; 64]) -> Result<GuestEvidence, CommandError> {
        let report = self.run(report_data)?;
        let unknown = |reason| CommandError::Unknown {
            program: self.program(),
            reason,
        };
        Evidence::recognise(&report).map_err(unknown)?;
        let config = &self.config;
        Ok(GuestEvidence {
            report: Bytes(report),
            certificate: beside(config.certificate.as_deref())?,
            certificate_chain: beside(config.certificate_chain.as_deref())?,
            collateral: beside(config.collateral.as_deref())?,
        })
    }

    fn run(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, CommandError> {
        let mut child = self.start(report_data)?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if let Some(mut stdin) = child.stdin.take() {
            // It fits the pipe. A program that has not read it and is gone says by its exit status whether that was in order.
            drop(stdin.write_all(report_data));
        }
        let (sender, outcome) = mpsc::channel();
        std::thread::spawn(move || sender.send(printed(child, group)));
        let (program, limit) = (self.program(), self.config.time_limit);
        let Ok(outcome) = outcome.recv_timeout(limit) else {
            end(group);
            return Err(CommandError::TooSlow { program, limit });
        };
        match outcome {
            Ok(Printed { stdout, .. }) if stdout.len() > LONGEST => {
                Err(CommandError::TooLong { program })
            }
            Ok(Printed { stdout, status, .. }) if status.success() => Ok(stdout),
            Ok(Printed { stderr, status, .. }) => Err(CommandError::Failed {
                program,
                how: in_words(status),
                said: last_line(&stderr),
            }),
            Err(source) => Err(CommandError::Start { program, source }),
        }
    }

    fn start(&self, report_data: &[u8; 64]) -> Result<Child, CommandError> {
        let digits = report_data.iter().map(|byte| format!("{byte:02x}"));
        let mut command = Command::new(self.program());
        command
            .args(self.config.command.iter().skip(1))
            .env(REPORT_DATA, digits.collect::<String>())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        command.spawn().map_err(|source| CommandError::Start {
            program: self.program(),
            source,
        })
    }

    fn program(&self) -> String {
        self.config.command.first().cloned().unwrap_or_default()
    }
}

struct Printed {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    status: ExitStatus,
}

/// Waits for the end of a program that prints no more than is read of it.
fn printed(mut child: Child, group: Option<Pid>) -> io::Result<Printed> {
    let stderr = child.stderr.take();
    let stderr = std::thread::spawn(move || stderr.map(beginning).unwrap_or_default());
    let mut stdout = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        let most = u64::try_from(LONGEST).unwrap_or(u64::MAX).saturating_add(1);
        pipe.take(most).read_to_end(&mut stdout)?;
    }
    if stdout.len() > LONGEST {
        end(group);
    }
    let status = child.wait()?;
    Ok(Printed {
        stdout,
        stderr: stderr.join().unwrap_or_default(),
        status,
    })
}

/// Ends a program with whatever it has started.
fn end(group: Option<Pid>) {
    if let Some(group) = group {
        let _ended_before = kill_process_group(group, Signal::KILL);
    }
}

/// What it complains of first; the rest is read and dropped, so that it can go on.
fn beginning(mut pipe: impl Read) -> Vec<u8> {
    let mut read = Vec::new();
    drop(pipe.by_ref().take(MOST_WORDS).read_to_end(&mut read));
    drop(io::copy(&mut pipe, &mut io::sink()));
    read
}

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit status {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}

fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    last.map_or_else(String::new, |line| format!(": {}", printable(line.trim())))
}

fn beside(path: Option<&Path>) -> Result<Option<Bytes>, CommandError> {
    let read = |path: &Path| {
        let unreadable = |source| CommandError::Beside {
            path: path.to_owned(),
            source,
        };
        std::fs::read(path).map(Bytes).map_err(unreadable)
    };
    path.map(read).transpose()
}

/// Where a program finds the 64 bytes in hexadecimal that would rather not read them from standard input.
const REPORT_DATA: &str = "COUNTERSIGN_REPORT_DATA";

/// A quote of 32 KiB in hexadecimal.
const LONGEST: usize = 64 * 1024;

/// Enough of an error message.
const MOST_WORDS: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> EvidenceConfig {
        EvidenceConfig {
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            time_limit: Duration::from_secs(25),
            certificate: None,
            certificate_chain: None,
            collateral: None,
        }
    }

    fn shell(script: &str) -> EvidenceConfig {
        command(&["/bin/sh", "-c", script])
    }

    fn check(config: EvidenceConfig, expected: &str) {
        let refused = EvidenceCommand::new(config).evidence(&[7; 64]).err();
        let refused = refused.expect("it is refused");
        assert_eq!(refused.to_string(), expected);
        assert!(refused.remedy().is_some());
    }

    /// As long as a report of SEV-SNP, with what was asked where it has it.
    const REPORT: &str =
        "printf '\\002\\000\\000\\000'; head -c 76 /dev/zero; cat; head -c 1040 /dev/zero";

    #[test]
    fn what_a_program_prints_over_the_64_bytes_is_shown() {
        let shown = EvidenceCommand::new(shell(REPORT)).evidence(&[7; 64]);
        let report = shown.unwrap().report.0;
        assert_eq!((report.len(), &report[0x50..0x90]), (1184, &[7; 64][..]));
    }

    #[test]
    fn the_64_bytes_are_in_the_environment_too() {
        let digits = "07".repeat(64);
        let script = format!("[ $COUNTERSIGN_REPORT_DATA = {digits} ] && {{ {REPORT}; }}");
        assert!(
            EvidenceCommand::new(shell(&script))
                .evidence(&[7; 64])
                .is_ok()
        );
    }

    #[test]
    fn files_are_shown_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vcek.der");
        std::fs::write(&file, b"certificate").unwrap();
        let mut config = shell(REPORT);
        config.certificate = Some(file);
        let shown = EvidenceCommand::new(config).evidence(&[7; 64]).unwrap();
        assert_eq!(shown.certificate.unwrap().0, b"certificate");
        let mut config = shell(REPORT);
        config.collateral = Some(PathBuf::from("/nowhere/collateral.json"));
        let expected =
            "cannot read `/nowhere/collateral.json`: No such file or directory (os error 2)";
        check(config, expected);
    }

    #[test]
    fn a_program_that_fails_is_told_with_its_last_words() {
        check(
            shell("echo first >&2; echo no device >&2; exit 3"),
            "`/bin/sh` gave no evidence: it ended with exit status 3: no device",
        );
        check(
            shell("kill -9 $$"),
            "`/bin/sh` gave no evidence: it was ended by signal 9",
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_told() {
        check(
            command(&["/nowhere/report"]),
            "cannot run `/nowhere/report` for evidence: No such file or directory (os error 2)",
        );
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_what_it_has_started() {
        for script in ["sleep 1000", "sleep 1000 & wait"] {
            let mut config = shell(script);
            config.time_limit = Duration::from_millis(200);
            check(
                config,
                "`/bin/sh` gave no evidence within 200ms, and was ended",
            );
        }
    }

    #[test]
    fn a_program_that_prints_without_end_is_ended() {
        let expected = "`/bin/sh` printed more than 65536 bytes, which no evidence has";
        check(shell("cat /dev/zero"), expected);
        check(shell("head -c 65537 /dev/zero; sleep 1000"), expected);
    }

    #[test]
    fn a_program_that_complains_without_end_is_no_hang() {
        let script = "head -c 1000000 /dev/zero >&2; exit 1";
        let refused = EvidenceCommand::new(shell(script)).evidence(&[7; 64]);
        assert!(matches!(refused, Err(CommandError::Failed { .. })));
    }

    #[test]
    fn words_are_no_evidence() {
        check(
            shell("echo hello"),
            "what `/bin/sh` printed is no evidence: the file of 6 bytes is no evidence that is known, it begins with 68656c6c6f0a",
        );
    }
}
