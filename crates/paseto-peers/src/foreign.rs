//! Libraries that run in a process of their own, asked by lines of JSON on standard input.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

use serde::Deserialize;

use crate::{Answer, Library, Payloads, Question, Refusal};

/// A library behind a process, which ends when this is dropped.
pub struct Foreign {
    name: &'static str,
    payloads: Payloads,
    process: Rc<RefCell<Process>>,
}

impl Foreign {
    /// Starts `command`, which answers each line of JSON on its standard input with one on its standard output.
    ///
    /// # Errors
    ///
    /// When the program does not start.
    pub fn start(
        name: &'static str,
        payloads: Payloads,
        command: &mut Command,
    ) -> std::io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let piped = child.stdin.take().zip(child.stdout.take());
        let (questions, answers) = piped.ok_or(std::io::ErrorKind::BrokenPipe)?;
        let process = Process {
            child,
            questions,
            answers: BufReader::new(answers),
        };
        Ok(Self {
            name,
            payloads,
            process: Rc::new(RefCell::new(process)),
        })
    }

    /// Thread CPU time of one call, in nanoseconds, as the process measures it by itself.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub fn measure(&self, question: &Question) -> Result<f64, Refusal> {
        let mut question = serde_json::to_value(question)?;
        if let Some(fields) = question.as_object_mut() {
            fields.insert("measure".to_owned(), true.into());
        }
        match self.process.borrow_mut().answer(&question.to_string())? {
            Line::Nanoseconds(nanoseconds) => Ok(nanoseconds),
            other => Err(Refusal::because(format_args!("{other:?}"))),
        }
    }
}

impl Library for Foreign {
    fn name(&self) -> &'static str {
        self.name
    }

    fn payloads(&self) -> Payloads {
        self.payloads
    }

    fn prepare(&self, question: &Question) -> Result<Answer, Refusal> {
        let (process, question) = (self.process.clone(), serde_json::to_string(question)?);
        Ok(Box::new(move |give| {
            match process.borrow_mut().answer(&question)? {
                Line::Text(text) => give(text.as_bytes()),
                Line::Bytes(hexadecimal) => give(&bytes(&hexadecimal)?),
                Line::Refused(reason) => return Err(Refusal::Refused(reason)),
                Line::Unsupported(_) => return Err(Refusal::Unsupported),
                Line::Nanoseconds(_) => return Err(Refusal::because("nobody asked for a time")),
            }
            Ok(())
        }))
    }
}

/// Those libraries of other languages and builds that `./test` has installed; what is missing is named on standard error.
///
/// # Panics
///
/// When one is missing and `COUNTERSIGN_REQUIRE_ALL` or `CI` says that none may be.
pub fn foreigners() -> Vec<Foreign> {
    let cache = root().join(".cache");
    let modules = cache.join("node/node_modules");
    let mut node = Command::new(modules.join(".bin/node"));
    node.env("NODE_PATH", modules)
        .arg("--disable-warning=ExperimentalWarning")
        .arg(root().join("tests/node/paseto.cjs"));
    let mut python = Command::new(cache.join("python/bin/python"));
    python.arg(root().join("tests/python/paseto.py"));
    let rusty = |version| Command::new(cache.join("rusty_paseto").join(version));
    [
        ("rusty_paseto (v2)", Payloads::Text, rusty("v2")),
        ("rusty_paseto (v3)", Payloads::Text, rusty("v3")),
        ("rusty_paseto (v4)", Payloads::Text, rusty("v4")),
        ("npm paseto", Payloads::Claims, node),
        ("pyseto", Payloads::Bytes, python),
    ]
    .into_iter()
    .filter_map(|(name, payloads, mut command)| {
        let started = Foreign::start(name, payloads, &mut command);
        started.map_err(|error| missing(name, &error)).ok()
    })
    .collect()
}

fn missing(name: &str, error: &std::io::Error) {
    let set = |name, value| std::env::var_os(name).is_some_and(|found| found == value);
    let required = set("CI", "true") || set("COUNTERSIGN_REQUIRE_ALL", "1");
    assert!(!required, "{name} is not installed: {error}");
    // Not `eprintln!`, which the test harness keeps to itself when a test passes.
    let _ = writeln!(std::io::stderr(), "skipped: {name} is not installed");
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A line of an answer: an object with one of these names.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Text(String),
    Bytes(String),
    Refused(String),
    Unsupported(()),
    Nanoseconds(f64),
}

struct Process {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Process {
    fn answer(&mut self, question: &str) -> Result<Line, Refusal> {
        writeln!(self.questions, "{question}")?;
        self.questions.flush()?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line)
            .map_err(|error| Refusal::because(format_args!("{error} in answer `{line}`")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bytes(hexadecimal: &str) -> Result<Vec<u8>, Refusal> {
    let pairs = hexadecimal.as_bytes().chunks(2);
    let digits = pairs.map(|pair| std::str::from_utf8(pair).unwrap_or_default());
    let bytes: Result<_, _> = digits.map(|pair| u8::from_str_radix(pair, 16)).collect();
    Ok(bytes?)
}
