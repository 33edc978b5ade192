//! Countersign: gateway, agent and tools.

mod cli;
mod config;
mod report;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let _cli = cli::Cli::parse();
    ExitCode::from(report::Verdict::Yes)
}
