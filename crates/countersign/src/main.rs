//! Countersign: gateway, agent and tools.

mod audit;
mod cli;
mod config;
mod join_string;
mod operator;
mod report;
mod state;
mod store;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let _cli = cli::Cli::parse();
    ExitCode::from(report::Verdict::Yes)
}
