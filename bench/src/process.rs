//! Programs that run beside the generator, and what they cost.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Outcome;

/// Which core a program may use.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Core {
    /// The one that nothing but the gateway under measurement uses.
    Gateway,
    /// Any but that.
    Others,
}

/// A program; it ends with this guard.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts a program on its core. What it prints goes to `log`.
    pub(crate) fn start(core: Core, command: &mut Command, log: &Path) -> Outcome<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let child = pinned(core, command)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("cannot start {command:?}: {error}"))?;
        Ok(Self { child })
    }

    /// CPU time of all its threads so far, those that have ended included.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in parentheses may hold blanks; user and system time are fields 14 and 15 (proc(5)).
        let (_, fields) = stat.rsplit_once(')').ok_or("no such process")?;
        let mut times = fields.split_ascii_whitespace().skip(11);
        let mut ticks = || -> Outcome<u64> { Ok(times.next().ok_or("proc(5)")?.parse()?) };
        let ticks = ticks()? + ticks()?;
        Ok(Duration::from_millis(
            ticks * 1000 / rustix::param::clock_ticks_per_second(),
        ))
    }

    /// Its resident memory, in bytes.
    pub(crate) fn memory(&self) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_ascii_whitespace().next());
        Ok(kibibytes.ok_or("no VmRSS")?.parse::<u64>()? << 10)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // An error says that it has ended already.
            let _ = kill_process(pid, Signal::TERM);
        }
        let ended = wait_until("it ends", || Ok(self.child.try_wait()?));
        if ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a program to its end on the cores that are not the gateway's, and gives what it printed.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let output = pinned(Core::Others, command).output()?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{command:?} failed: {told}").into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until `condition` gives something.
pub(crate) fn wait_until<T>(
    what: &str,
    mut condition: impl FnMut() -> Outcome<Option<T>>,
) -> Outcome<T> {
    let since = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if since.elapsed() > PATIENCE {
            return Err(format!("waited {} s until {what}", PATIENCE.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The same command under taskset(1), where there are cores to share out.
fn pinned(core: Core, command: &Command) -> Command {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut pinned = match core {
        _ if cores == 1 => Command::new(command.get_program()),
        Core::Gateway => taskset("0", command),
        Core::Others => taskset(&format!("1-{}", cores - 1), command),
    };
    pinned.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => pinned.env(name, value),
            None => pinned.env_remove(name),
        };
    }
    pinned
}

fn taskset(cores: &str, command: &Command) -> Command {
    let mut taskset = Command::new("taskset");
    taskset
        .args(["--cpu-list", cores])
        .arg(command.get_program());
    taskset
}

const PATIENCE: Duration = Duration::from_secs(20);
