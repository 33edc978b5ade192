//! The command line: verbs on nouns.

mod hsm;
mod tools;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};

pub(crate) use self::hsm::HsmCommand;
pub(crate) use self::tools::{
    KeyCommand, KeyPurpose, PasetoVersion, SecretOutput, TokenCommand, TokenCreate, TokenVerify,
};
use crate::config::HostPort;

/// Quantum-safe, attested access to services that already run.
///
/// Exit status: 0 done or yes, 1 no (refused, denied, invalid), 2 could not tell (unreachable, unreadable, wrong usage).
#[derive(Debug, Parser)]
#[command(name = "countersign", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How results are printed on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables and sentences for people.
    Text,
    /// JSON for machines, as docs/operator-api.md and docs/tokens.md describe it.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on one machine, with nothing to configure; not for production.
    Dev(DevOptions),
    /// Run a gateway.
    Gateway(GatewayOptions),
    /// Run an agent.
    Agent(AgentOptions),
    /// Let a machine in.
    JoinString(Operate<JoinStringCommand>),
    /// The machines that have joined.
    Agents(Operate<AgentsCommand>),
    /// What machines show, and what is expected of them.
    Attest(Operate<AttestCommand>),
    /// Who may reach which service.
    Grants(Operate<GrantsCommand>),
    /// Bearer tokens for clients without an agent.
    Tokens(Operate<TokensCommand>),
    /// Open channels, and those that were refused.
    Sessions(SessionsOptions),
    /// The services behind the gateway.
    Services(Operate<ServicesCommand>),
    /// Who may still use classical key exchange, until when.
    Exceptions(Operate<ExceptionsCommand>),
    /// The keys by which services verify who calls.
    Identity(Operate<IdentityCommand>),
    /// The certificates for agentless clients.
    Certificates(Operate<CertificatesCommand>),
    /// Where each listener stands in the migration.
    Stage(Operate<StageCommand>),
    /// Save and restore the gateway's state, authority and keys included.
    Backup(BackupOptions),
    /// PASETO keys: make, name, wrap and protect them.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Keys in an HSM, by PKCS#11: docs/hsm.md.
    #[command(subcommand)]
    Hsm(HsmCommand),
    /// PASETO tokens: mint, verify and inspect them.
    #[command(subcommand)]
    Token(TokenCommand),
}

/// `countersign dev`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct DevOptions {
    /// Keep state in this folder and find it again; a temporary folder otherwise.
    #[arg(long, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Drive real traffic through, print what was checked, and end.
    #[arg(long)]
    pub(crate) check: bool,
}

/// `countersign gateway`.
#[derive(Debug, Args)]
pub(crate) struct GatewayOptions {
    /// The gateway's configuration.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/countersign/gateway.toml"
    )]
    pub(crate) config: PathBuf,
    /// Read the configuration, say what is wrong with it, and end.
    #[arg(long)]
    pub(crate) check_config: bool,
}

/// `countersign agent`.
#[derive(Debug, Args)]
pub(crate) struct AgentOptions {
    /// The agent's configuration.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/countersign/agent.toml"
    )]
    pub(crate) config: PathBuf,
    /// Join with the join string in this file, or on standard input (`-`).
    #[arg(long, value_name = "FILE")]
    pub(crate) join: Option<PathBuf>,
    /// Read the configuration, say what is wrong with it, and end.
    #[arg(long)]
    pub(crate) check_config: bool,
}

/// A command to a running gateway.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = false)]
pub(crate) struct Operate<C: Subcommand> {
    #[command(flatten)]
    pub(crate) gateway: GatewaySocket,
    #[command(subcommand)]
    pub(crate) command: C,
}

/// Which gateway a command talks to.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct GatewaySocket {
    /// The gateway's operator socket [default: COUNTERSIGN_SOCKET, or /run/countersign/gateway.sock]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Find the socket in the gateway's configuration.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "socket")]
    pub(crate) config: Option<PathBuf>,
}

/// `countersign join-string …`.
#[derive(Debug, Subcommand)]
pub(crate) enum JoinStringCommand {
    /// Make a join string: it lets one machine in, once, under one name.
    Create {
        /// The agent's name.
        #[arg(long)]
        name: String,
        /// How long the join string can be used.
        #[arg(long, value_name = "SPAN", default_value = "15m", value_parser = span)]
        expires_in: Duration,
        /// Take the name over from the agent that has it, and revoke that one.
        #[arg(long)]
        replace: bool,
        /// The address under which the agent reaches the gateway, when the listener's is not it.
        #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
        address: Option<HostPort>,
        /// Write it to a new file that only you can read, instead of standard output.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Print the join string for machines with a TPM: no secret, and good for any number of them.
    Tpm,
}

/// `countersign agents …`.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentsCommand {
    /// List the agents.
    List,
    /// Revoke an agent: its channels close at once, and it cannot renew.
    Revoke {
        /// The agent's name.
        name: String,
        /// Why, for the audit.
        #[arg(long)]
        reason: String,
    },
    /// Let a machine in by its TPM's endorsement key.
    AllowEk {
        /// The key's hash, as a refused join prints it.
        hash: String,
        /// The agent's name; one made of the hash when absent.
        #[arg(long)]
        name: Option<String>,
    },
    /// Take that back; an agent that is in stays in until it is revoked.
    ForbidEk {
        /// The key's hash.
        hash: String,
    },
    /// List the endorsement keys that are let in.
    ListEks,
}

/// `countersign attest …`.
#[derive(Debug, Subcommand)]
pub(crate) enum AttestCommand {
    /// Check evidence offline, and say what it comes to. Exit status 1 where it does not hold.
    Verify(Box<AttestVerify>),
    /// Say what this machine can prove.
    Show {
        /// The TPM.
        #[arg(long, value_name = "DEVICE", default_value = "/dev/tpmrm0")]
        device: countersign_tpm::Address,
    },
    /// Expect of a machine from now on what it shows now.
    Learn {
        /// The agent's name.
        agent: String,
    },
    /// Say what a machine shows that is not expected of it. Exit status 1 where something is.
    Diff {
        /// The agent's name.
        agent: String,
    },
    /// Expect what a machine shows now in place of what was expected before.
    Accept {
        /// The agent's name.
        agent: String,
        /// Why, for the audit.
        #[arg(long)]
        reason: String,
    },
}

/// `countersign attest verify`.
#[derive(Debug, Args)]
pub(crate) struct AttestVerify {
    /// A report, quote or document of SEV-SNP, TDX, SGX, Nitro Enclaves, Azure or a TPM, in bytes or hexadecimal.
    #[arg(value_name = "FILE")]
    pub(crate) evidence: PathBuf,
    /// SEV-SNP, Azure: the chip's certificate (VCEK or VLEK), DER.
    #[arg(long, value_name = "FILE", requires = "certificate_chain")]
    pub(crate) certificate: Option<PathBuf>,
    /// SEV-SNP, Azure: AMD's `cert_chain` of the chip's family, PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) certificate_chain: Option<PathBuf>,
    /// TDX, SGX: Intel's collateral, JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) collateral: Option<PathBuf>,
    /// Azure: the quote of the virtual TPM that the report vouches for.
    #[arg(long, value_name = "FILE")]
    pub(crate) quote: Option<PathBuf>,
    /// TPM: the attestation key; software: the agent's key; Azure: the quote's key, where it is not to be taken from the report. PEM or
    /// DER.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// TPM, Azure: the quote's signature.
    #[arg(long, value_name = "FILE")]
    pub(crate) signature: Option<PathBuf>,
    /// TPM, Azure: the values that were quoted, as `tpm2_pcrread` prints them.
    #[arg(long, value_name = "FILE")]
    pub(crate) pcrs: Option<PathBuf>,
    /// TPM: the event log.
    #[arg(long, value_name = "FILE")]
    pub(crate) event_log: Option<PathBuf>,
    /// What the evidence has to answer, in hexadecimal; without it, it may be from any time.
    #[arg(long, value_name = "HEX")]
    pub(crate) question: Option<String>,
    /// Verify as if it were this time.
    #[arg(long, value_name = "RFC3339", value_parser = tools::moment)]
    pub(crate) at: Option<Timestamp>,
    /// Print the claims of an EAT attestation result (draft-ietf-rats-ear), JSON, for somebody to sign.
    #[arg(long)]
    pub(crate) ear: bool,
}

/// `countersign grants …`.
#[derive(Debug, Subcommand)]
pub(crate) enum GrantsCommand {
    /// Let a principal reach a service.
    Add(Grant),
    /// Take that back; live streams it let through are cut.
    Remove(Grant),
    /// List the grants.
    List,
}

/// `countersign tokens …`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand {
    /// Issue a token: whoever holds it may reach one service, until it ends. It is shown once.
    Issue {
        /// The service that it opens.
        #[arg(long)]
        service: String,
        /// Whom it names, in audit and to the service.
        #[arg(long, value_name = "NAME")]
        subject: String,
        /// How long it can be used, a year at most.
        #[arg(long, value_name = "SPAN", default_value = "8h", value_parser = span)]
        expires_in: Duration,
        /// Write it to a new file that only you can read, instead of standard output.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// List the tokens that were issued, and not the tokens themselves.
    List,
    /// Revoke a token: what it opened is cut at once.
    Revoke {
        /// The token's id, as `tokens list` shows it.
        id: String,
        /// Why, for the audit.
        #[arg(long)]
        reason: String,
    },
}

/// A principal and a service.
#[derive(Debug, Args)]
pub(crate) struct Grant {
    /// An agent's name, a SPIFFE ID, `cert:AUTHORITY/NAME`, `bearer:NAME`, or `anonymous`.
    #[arg(long)]
    pub(crate) principal: String,
    /// The service's name.
    #[arg(long)]
    pub(crate) service: String,
}

/// `countersign sessions …`: lists when no verb is given.
#[derive(Debug, Args)]
pub(crate) struct SessionsOptions {
    #[command(flatten)]
    pub(crate) gateway: GatewaySocket,
    /// List the channels that were refused lately, with the reason.
    #[arg(long)]
    pub(crate) refused: bool,
    #[command(subcommand)]
    pub(crate) command: Option<SessionsCommand>,
}

/// `countersign sessions …`.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// List the open channels.
    List {
        /// List the channels that were refused lately, with the reason.
        #[arg(long)]
        refused: bool,
    },
    /// Close a channel and its streams.
    Close {
        /// The session's id, as `sessions list` shows it.
        id: String,
    },
}

/// `countersign services …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ServicesCommand {
    /// List the services.
    List,
}

/// `countersign exceptions …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ExceptionsCommand {
    /// Let classical clients in, on listeners at stage `classical-canary`.
    #[command(group = ArgGroup::new("whom").args(["source", "sni"]).required(true).multiple(true))]
    Add {
        /// Who answers for it.
        #[arg(long)]
        owner: String,
        /// Why it is needed.
        #[arg(long)]
        reason: String,
        /// When it ends: a day, a moment (RFC 3339), or a span from now.
        #[arg(long, value_name = "WHEN", value_parser = moment)]
        ends: Timestamp,
        /// The network that the clients come from.
        #[arg(long, value_name = "CIDR")]
        source: Option<String>,
        /// The server name that the clients ask for.
        #[arg(long, value_name = "NAME")]
        sni: Option<String>,
        /// The listener it holds for; every `classical-canary` one otherwise.
        #[arg(long, value_name = "NAME")]
        listener: Option<String>,
    },
    /// End an exception now; the channels that it let in are cut.
    End {
        /// The exception's id, as `exceptions list` shows it.
        id: String,
    },
    /// List the exceptions, those of the configuration too.
    List,
}

/// `countersign identity …`.
#[derive(Debug, Subcommand)]
pub(crate) enum IdentityCommand {
    /// Show the public keys of identity tokens; `--format json` prints what verifiers read.
    Keys,
}

/// `countersign certificates …`.
#[derive(Debug, Subcommand)]
pub(crate) enum CertificatesCommand {
    /// List each listener's certificates: names, end, and what is wrong.
    List,
    /// Have the ACME server replace a certificate now.
    Renew {
        /// The name that it is for.
        name: String,
    },
}

/// `countersign stage …`.
#[derive(Debug, Subcommand)]
pub(crate) enum StageCommand {
    /// Show each listener's stage, profile and exceptions.
    Show,
}

/// `countersign backup …`.
#[derive(Debug, Args)]
pub(crate) struct BackupOptions {
    #[command(subcommand)]
    pub(crate) command: BackupCommand,
}

/// `countersign backup …`.
#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Have a running gateway write its state to a file, sealed with a passphrase.
    Create {
        #[command(flatten)]
        gateway: GatewaySocket,
        /// The file to write; it must not exist.
        file: PathBuf,
        /// A file that holds the passphrase.
        #[arg(long, value_name = "FILE")]
        passphrase_file: PathBuf,
    },
    /// Put a saved state in place, for a gateway that does not run.
    Restore {
        /// The file to read.
        file: PathBuf,
        /// The configuration of the gateway whose state it becomes.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// A file that holds the passphrase.
        #[arg(long, value_name = "FILE")]
        passphrase_file: PathBuf,
    },
}

/// A span of time; a day is 24 hours.
fn span(text: &str) -> Result<Duration, String> {
    let span = text.parse::<Span>().ok();
    span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok())
        .and_then(|span| Duration::try_from(span).ok())
        .filter(|span| !span.is_zero())
        .ok_or_else(|| "a span of time is written as `90s`, `15m`, `1h 30m` or `7d`".to_owned())
}

/// A day, which begins in UTC, a moment, or a span from now.
fn moment(text: &str) -> Result<Timestamp, String> {
    let day = || {
        let day: Date = text.parse().ok()?;
        Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    let from_now = || Timestamp::now().checked_add(span(text).ok()?).ok();
    let moment = text.parse().ok().or_else(day).or_else(from_now);
    moment.ok_or_else(|| {
        "an end is written as `2027-01-31`, `2027-01-31T18:00:00Z`, or as a span from now such as `30d`"
            .to_owned()
    })
}

fn host_port(text: &str) -> Result<HostPort, String> {
    text.parse()
        .map_err(|allowed| format!("it has to be {allowed}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// The words after each `countersign` that begins a command in the text.
    fn commands(text: &str) -> Vec<Vec<&str>> {
        let beginnings = [
            "countersign ",
            "sudo -u countersign countersign ",
            "ExecStart=/usr/bin/countersign ",
        ];
        text.lines()
            .filter_map(|line| {
                beginnings
                    .iter()
                    .find_map(|beginning| line.strip_prefix(beginning))
            })
            .map(|words| words.split_whitespace().collect())
            .collect()
    }

    fn check(text: &str, expected: usize) {
        let commands = commands(text);
        assert_eq!(commands.len(), expected, "{commands:?}");
        for words in commands {
            let parsed = Cli::try_parse_from(std::iter::once("countersign").chain(words.clone()));
            assert!(parsed.is_ok(), "{words:?}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn the_tree_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_shipped_units_start_what_there_is() {
        check(
            include_str!("../../../deploy/countersign-gateway.service"),
            1,
        );
        check(include_str!("../../../deploy/countersign-agent.service"), 1);
    }

    #[test]
    fn the_commands_of_the_deployment_page_can_be_typed() {
        check(include_str!("../../../deploy/README.md"), 4);
    }
}
