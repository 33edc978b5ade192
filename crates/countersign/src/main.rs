//! Countersign: gateway, agent and tools.

mod access;
mod acme;
mod agent;
mod attestation;
mod audit;
mod authority;
mod backup;
mod bearer;
mod cli;
mod commands;
mod config;
mod custody;
mod dev;
mod enrolment;
mod from_files;
mod gateway;
mod hardware;
mod hop;
mod identity;
mod join_string;
mod log;
mod metrics;
mod operator;
mod private_file;
mod random;
mod report;
mod root_key;
mod rotation;
mod state;
mod stdout;
mod store;

use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::Builder;

use crate::cli::{BackupCommand, Cli, Command};
use crate::report::{Failure, Verdict};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(verdict) => verdict.into(),
        Err(failure) => {
            failure.print();
            failure.verdict().into()
        }
    }
}

fn run(cli: Cli) -> Result<Verdict, Failure> {
    let mut runtime = match cli.command {
        Command::Dev(_) | Command::Gateway(_) | Command::Agent(_) => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build();
    let runtime = runtime.expect("the process can have threads, a timer and a socket");
    let format = cli.format;
    runtime.block_on(async {
        match cli.command {
            Command::JoinString(options) => commands::join_string(options, format).await?,
            Command::Agents(options) => commands::agents(options, format).await?,
            Command::Attest(options) => commands::attest(options, format).await?,
            Command::Grants(options) => commands::grants(options, format).await?,
            Command::Tokens(options) => commands::tokens(options, format).await?,
            Command::Sessions(options) => commands::sessions(options, format).await?,
            Command::Services(options) => commands::services(options, format).await?,
            Command::Exceptions(options) => commands::exceptions(options, format).await?,
            Command::Identity(options) => commands::identity(options, format).await?,
            Command::Certificates(options) => commands::certificates(options, format).await?,
            Command::Stage(options) => commands::stage(options, format).await?,
            Command::Backup(options) => match options.command {
                BackupCommand::Create {
                    gateway,
                    file,
                    passphrase_file,
                } => {
                    commands::backup_create(&gateway, &file, &passphrase_file, format).await?;
                }
                BackupCommand::Restore {
                    file,
                    config,
                    passphrase_file,
                } => {
                    commands::backup_restore(&file, &config, &passphrase_file, format).await?;
                }
            },
            Command::Key(command) => commands::key(command, format)?,
            Command::Hsm(command) => commands::hsm(command, format)?,
            Command::Token(command) => commands::token(command, format)?,
            Command::Gateway(options) => commands::gateway(&options, format).await?,
            Command::Agent(options) => commands::agent(&options, format).await?,
            Command::Dev(options) => dev::run(options).await?,
        }
        Ok(Verdict::Yes)
    })
}
